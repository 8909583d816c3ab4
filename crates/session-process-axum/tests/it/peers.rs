//! What the session libraries of today get wrong, shown by running them; here it must hold.

use axum::{Router, extract::State, routing::post};
use session_process::{Event, SessionId, events::RefusedId};
use session_process_axum::{Error, Session, SessionLayer};
use testkit::Gate;

use crate::support::*;

/// Their sessions are loaded at the start of a request and saved at its end: they end at 2 or 3.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_that_add_one_end_at_a_hundred_and_one() {
    let app = app(&builder().build().unwrap());
    let mut first = Client::new(&app);
    assert_eq!(first.post("/add/1").await.body, "1");
    let id = first.id();
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::with_id(&app, &id);
            tokio::spawn(async move { client.post("/add/1").await.status })
        })
        .collect();
    for request in requests {
        assert!(request.await.unwrap().is_success());
    }
    assert_eq!(first.post("/add/0").await.body, "101");
}

/// Theirs comes back: the slow request saves it again at its end.
#[tokio::test]
async fn a_logout_during_a_slow_request_is_final() {
    let sessions = builder().build().unwrap();
    let gate = Gate::new();
    let slow = |State(gate): State<Gate>, session: Session<Counter>| async move {
        session.call(Add(1)).await?;
        gate.pass().await;
        Ok::<_, Error>("done")
    };
    let app = Router::new()
        .route("/slow", post(slow))
        .with_state(gate.clone())
        .merge(routes())
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let id = client.id();
    let mut other = Client::with_id(&app, &id);
    let (slow, ()) = tokio::join!(other.post("/slow"), async {
        gate.reached().await;
        client.post("/logout").await;
        gate.open();
    });
    assert_eq!(slow.body, "done");
    assert!(slow.set_cookie().is_none(), "nothing signs it in again");
    assert!(!sessions.is_started(&id));
    assert_eq!(sessions.stats().sessions, 0);
}

/// `session=attacker` is adopted by one of them. Here it is counted.
#[tokio::test]
async fn a_made_up_id_is_not_adopted_and_is_counted() {
    let sessions = builder().build().unwrap();
    let mut events = sessions.events();
    let app = app(&sessions);
    for (value, expected) in [
        ("attacker", RefusedId::Unknown),
        ("not an id", RefusedId::Malformed),
        ("one; __Host-id=two", RefusedId::Ambiguous),
    ] {
        let cookie = format!("__Host-id={value}");
        post_with_cookie_header(&app, "/add/1", &[cookie.as_bytes()]).await;
        let refused = events.find(|event| match event {
            Event::IdRefused { reason } => Some(*reason),
            _ => None,
        });
        assert_eq!(refused.await, Some(expected));
    }
    let attacker: SessionId = "attacker".parse().unwrap();
    assert!(!sessions.is_started(&attacker));
}
