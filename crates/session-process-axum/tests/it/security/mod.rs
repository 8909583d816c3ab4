//! The security table of the guide (`docs/security.md`), a test a line, named after it.
//!
//! Lines 17, 21, 32, 33, 35 to 38 and 42 are about live pages and are tested with them, in `tests/it/live`.

mod at_rest;
mod cookie;
mod guesses;
mod ids;
mod keys;
mod lifetime;
mod renewal;
mod requests;
mod revocation;
mod step_up;
mod table;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use session_process::{
    Sessions,
    records::{Listed, RecordsBuilder, SessionRecords},
    store::{Owner, OwnerText, SessionStore},
};
use session_process_axum::{Error, Session, SessionLayer};

use crate::{
    durable::{Ledger, ledger_routes},
    support::Client,
};

/// One node of several over a store.
struct Node {
    sessions: Sessions<Ledger>,
    records: SessionRecords,
    app: Router,
}

impl Node {
    fn over(store: Arc<dyn SessionStore>) -> Self {
        Self::with(store, |records| records, |layer| layer)
    }

    fn with(
        store: Arc<dyn SessionStore>,
        limits: impl FnOnce(RecordsBuilder) -> RecordsBuilder,
        layer: impl FnOnce(SessionLayer) -> SessionLayer,
    ) -> Self {
        let records = limits(SessionRecords::builder_over(store)).build().unwrap();
        let sessions = Sessions::builder().records(records.clone()).build().unwrap();
        let app = routes()
            .with_state(records.clone())
            .layer(layer(SessionLayer::new(sessions.clone())));
        Self { sessions, records, app }
    }
}

/// A ledger that is its user's after the login.
pub(crate) fn routes() -> Router<SessionRecords> {
    ledger_routes()
        .route("/login/{user}", post(login))
        .route(
            "/logout",
            post(|session: Session<Ledger>| async move { session.end().await.map(|ended| ended.to_string()) }),
        )
        .route("/sessions", get(list))
        .route(
            "/pay",
            post(|session: Session<Ledger>| async move {
                let recent = std::time::Duration::from_secs(300);
                session.require_recent_auth(recent).await
            }),
        )
}

async fn login(
    session: Session<Ledger>,
    State(records): State<SessionRecords>,
    Path(user): Path<String>,
) -> Result<(), String> {
    let id = session
        .rotate_authenticated()
        .await
        .map_err(|error| error.to_string())?;
    let mine = records.set_user(&id, Some(&user)).await;
    mine.map(drop).map_err(|error| error.to_string())
}

async fn list(session: Session<Ledger>, State(records): State<SessionRecords>) -> Result<String, Error> {
    let id = session.id().await?.ok_or(Error::NoSession)?;
    let mine = records.peek(&id).await?.and_then(|view| view.user_id().map(user));
    let listed = records.list(&mine.ok_or(Error::NoSession)?, None, 100).await?;
    let line = |listed: &Listed| format!("{} {:?} {:?}\n", listed.handle, listed.user_id, listed.accessed_at);
    Ok(listed.iter().map(line).collect())
}

fn user(name: &str) -> Owner {
    Owner::User(OwnerText::new(name).unwrap())
}

/// A browser that has signed in at this node.
async fn signed_in(node: &Node, user: &str) -> Client {
    let mut client = Client::new(&node.app);
    client.post("/add").await;
    let answer = client.post(&format!("/login/{user}")).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
    client
}

/// Lets the other tasks work until something holds. A test that waits for what never comes is ended by its runner.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::task::yield_now().await;
    }
}
