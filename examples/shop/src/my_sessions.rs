//! A user's sessions, in all browsers: listed from the records, and ended there. A session and its process have one
//! life, so ending one in the list ends its process at once, and wakes none that sleeps.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    routing::{delete, get},
};
use serde::Serialize;
use session_process::{
    SessionId, Timestamp,
    records::{RecordHandle, SessionRecords},
    store::{Owner, OwnerText},
};
use session_process_axum::{Session, live::Pages};

use crate::{
    Shop,
    error::ApiError,
    live,
    visitor::{Visit, look},
};

/// More than a user may have: the list is whole.
const PAGE: usize = 100;

pub(crate) fn routes() -> Router<Shop> {
    Router::new()
        .route("/sessions", get(list))
        .route("/sessions/others", delete(end_others))
        .route("/sessions/{handle}", delete(end))
}

/// A session as its user sees it.
#[derive(Debug, Serialize)]
struct Listed {
    handle: String,
    device: String,
    /// Seconds since 1970, as all times here.
    started: i64,
    last_used: i64,
    current: bool,
}

#[derive(Debug, Serialize)]
struct List {
    user: String,
    sessions: Vec<Listed>,
}

async fn list(session: Session<Visit>, State(records): State<SessionRecords>) -> Result<Json<List>, ApiError> {
    let (user, id) = signed_in(&session).await?;
    let current = RecordHandle::of(&id);
    let seconds = |at: Timestamp| at.as_micros().div_euclid(1_000_000);
    let sessions = records.list(&owner(&user)?, None, PAGE).await?;
    let sessions = sessions.into_iter().map(|listed| Listed {
        handle: listed.handle.to_string(),
        device: listed.label.map(|label| label.to_string()).unwrap_or_default(),
        started: seconds(listed.created_at),
        last_used: seconds(listed.accessed_at),
        current: listed.handle == current,
    });
    let sessions = sessions.collect();
    Ok(Json(List { user, sessions }))
}

/// Ends one of the user's own sessions.
async fn end(
    session: Session<Visit>,
    State(records): State<SessionRecords>,
    State(pages): State<Pages>,
    handle: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let (user, id) = signed_in(&session).await?;
    let handle = handle.ok().and_then(|Path(handle)| handle.parse().ok());
    let handle: RecordHandle = handle.ok_or(ApiError::UnknownSession)?;
    if handle == RecordHandle::of(&id) {
        // And its cookie.
        session.end().await?;
    } else if !records.delete_listed(&owner(&user)?, handle).await? {
        return Err(ApiError::UnknownSession);
    }
    live::sessions_changed(&pages, &user);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Serialize)]
struct Ended {
    ended: usize,
}

/// Signs the user out everywhere else.
async fn end_others(
    session: Session<Visit>,
    State(records): State<SessionRecords>,
    State(pages): State<Pages>,
) -> Result<Json<Ended>, ApiError> {
    let (user, id) = signed_in(&session).await?;
    let ended = records.delete_all_but(&owner(&user)?, &id).await?;
    live::sessions_changed(&pages, &user);
    Ok(Json(Ended { ended }))
}

async fn signed_in(session: &Session<Visit>) -> Result<(String, SessionId), ApiError> {
    let user = look(session, |visitor| visitor.account.user.clone()).await?.flatten();
    let id = session.id().await?;
    user.zip(id).ok_or(ApiError::NotSignedIn)
}

fn owner(user: &str) -> Result<Owner, ApiError> {
    Ok(Owner::User(OwnerText::new(user)?))
}
