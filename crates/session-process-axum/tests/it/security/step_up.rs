//! Line 27: step-up.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::post};
use session_process::{ManualClock, Sessions, records::SessionRecords, store::MemoryStore};
use session_process_axum::{Error, Session, SessionLayer};

use super::routes;
use crate::{
    durable::Ledger,
    support::{Client, Counter, timed},
};

const RECENT: Duration = Duration::from_secs(300);

async fn pay(session: Session<Counter>) -> Result<(), Error> {
    session.require_recent_auth(RECENT).await
}

async fn sign_in(session: Session<Counter>) -> Result<(), Error> {
    session.rotate_authenticated().await.map(drop)
}

async fn since(session: Session<Counter>) -> Result<String, Error> {
    Ok(format!("{:?}", session.authenticated_for().await?))
}

#[tokio::test]
async fn line_27_what_needs_a_recent_authentication_is_403_without_one() {
    let (sessions, clock) = timed();
    let app: Router = Router::new()
        .route("/pay", post(pay))
        .route("/sign-in", post(sign_in))
        .route("/since", post(since))
        .merge(crate::support::routes())
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::new(&app);
    assert_eq!(client.post("/pay").await.status, 401, "no session");
    client.post("/add/1").await;
    let answer = client.post("/pay").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (403, "sign in again"));
    assert_eq!(client.post("/since").await.body, "None");

    let before = client.id();
    client.post("/sign-in").await;
    assert_ne!(client.id(), before, "with a new id");
    assert_eq!(client.post("/since").await.body, "Some(0ns)");
    for _ in 0..5 {
        assert_eq!(client.post("/pay").await.status, 200);
        assert_eq!(client.post("/touch").await.body, "true", "the question alone is no use");
        clock.advance(Duration::from_secs(50));
    }
    // A rotation for another reason is no authentication, and takes none away.
    client.post("/login").await;
    assert_eq!(client.post("/pay").await.status, 200);
    clock.advance(Duration::from_secs(50));
    assert_eq!(client.post("/pay").await.status, 403, "stale");
    client.post("/sign-in").await;
    assert_eq!(client.post("/pay").await.status, 200);
    client.post("/logout").await;
    assert_eq!(client.post("/pay").await.status, 401);
}

#[tokio::test]
async fn line_27_a_durable_session_knows_it_after_a_sleep_and_a_restart_and_on_another_node() {
    let clock = ManualClock::new();
    let store = Arc::new(MemoryStore::with_clock(clock.clone()));
    let node = || {
        let records = SessionRecords::builder_over(store.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        let sessions = Sessions::<Ledger>::builder()
            .records(records.clone())
            .idle_timeout(None)
            .clock(clock.clone())
            .build()
            .unwrap();
        routes().with_state(records).layer(SessionLayer::new(sessions))
    };
    let app = node();
    let mut client = Client::new(&app);
    client.post("/add").await;
    assert_eq!(client.post("/pay").await.status, 403);
    client.post("/login/ada").await;
    assert_eq!(client.post("/pay").await.status, 200);
    clock.advance(RECENT - Duration::from_secs(1));
    let restarted = node();
    let mut elsewhere = Client::with_id(&restarted, &client.id());
    assert_eq!(elsewhere.post("/pay").await.status, 200, "asleep there");
    assert_eq!(elsewhere.post("/add").await.body, "2");
    assert_eq!(elsewhere.post("/pay").await.status, 200, "awake");
    clock.advance(Duration::from_secs(1));
    assert_eq!(elsewhere.post("/pay").await.status, 403);
    assert_eq!(client.post("/pay").await.status, 403);
}
