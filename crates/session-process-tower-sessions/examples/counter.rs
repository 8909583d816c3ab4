//! A counter for each visitor, as the documentation of tower-sessions has it; its sessions are in `sessions.db`, and
//! `/devices` shows what that brings.
//!
//! `cargo run -p session-process-tower-sessions --example counter`, then open <http://localhost:3000>.
#![allow(clippy::print_stdout, reason = "a program")]

use std::error::Error;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use session_process::{
    records::SessionRecords,
    store::{Owner, OwnerText},
};
use session_process_sqlite::SqliteStore;
use session_process_tower_sessions::{RecordStore, session_id};
use tower_sessions::{Session, SessionManagerLayer};

const USER: &str = "ada";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let records = SessionRecords::builder(SqliteStore::open("sessions.db").await?).build()?;
    // Plain http, for everybody to try. On a real site: https, and without this option.
    let sessions = SessionManagerLayer::new(RecordStore::new(records.clone())).with_secure(false);
    let app = Router::new()
        .route("/", get(count))
        .route("/login", get(login))
        .route("/devices", get(devices))
        .with_state(records)
        .layer(sessions);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://localhost:3000, /login in two browsers, then /devices");
    axum::serve(listener, app).await?;
    Ok(())
}

type Answer = Result<String, (StatusCode, String)>;

fn failed(error: impl Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

async fn count(session: Session) -> Answer {
    let count: u64 = session.get("count").await.map_err(failed)?.unwrap_or_default();
    session.insert("count", count + 1).await.map_err(failed)?;
    Ok(format!("{count} visits before this one"))
}

async fn login(session: Session, State(records): State<SessionRecords>) -> Answer {
    session.insert("user", USER).await.map_err(failed)?;
    session.cycle_id().await.map_err(failed)?;
    session.save().await.map_err(failed)?;
    if let Some(id) = session.id() {
        records.set_user(&session_id(id), Some(USER)).await.map_err(failed)?;
    }
    Ok(format!("you are {USER}"))
}

async fn devices(State(records): State<SessionRecords>) -> Answer {
    let owner = Owner::User(OwnerText::new(USER).map_err(failed)?);
    let devices = records.list(&owner, None, 100).await.map_err(failed)?;
    let lines = devices.iter().map(|device| format!("{}\n", device.handle));
    Ok(lines.collect())
}
