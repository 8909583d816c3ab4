//! Line 18: ids are renewed, and old ones are good for a moment.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::post};
use session_process::{ManualClock, SessionId, Sessions};
use session_process_axum::{ConfigError, Error, Session, SessionLayer};
use testkit::Gate;

use crate::support::{Add, Client, Counter, builder, routes};

const EVERY: Duration = Duration::from_secs(600);
const OVERLAP: Duration = Duration::from_secs(30);

fn renewing() -> (Router, Sessions<Counter>, ManualClock) {
    let clock = ManualClock::new();
    let sessions = builder().clock(clock.clone()).build().unwrap();
    let layer = SessionLayer::new(sessions.clone())
        .with_renewal(EVERY, OVERLAP)
        .unwrap();
    (routes().layer(layer), sessions, clock)
}

#[tokio::test]
async fn line_18_an_id_is_renewed_and_the_old_one_is_good_for_the_overlap_and_dead_after() {
    let (app, sessions, clock) = renewing();
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let old = client.id();
    clock.advance(EVERY - Duration::from_secs(1));
    assert_eq!(client.post("/add/1").await.set_cookie(), None, "not yet");

    clock.advance(Duration::from_secs(1));
    let answer = client.post("/add/1").await;
    assert_eq!(answer.body, "3", "the state is kept");
    let new = client.id();
    assert_ne!(new, old);
    assert_eq!(sessions.list(), std::slice::from_ref(&new));

    clock.advance(OVERLAP - Duration::from_millis(1));
    let mut late = Client::with_id(&app, &old);
    assert_eq!(late.post("/add/1").await.body, "4");
    assert_eq!(late.id(), new, "who missed the answer is told again");
    clock.advance(Duration::from_millis(1));
    let mut dead = Client::with_id(&app, &old);
    assert_eq!(dead.get("/look").await.body, "none");
    assert_eq!(client.get("/look").await.body, "4");
    clock.advance(EVERY);
    client.get("/look").await;
    assert_ne!(client.id(), new, "and again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn line_18_of_requests_at_once_one_renews_and_none_is_lost() {
    for _ in 0..20 {
        let (app, sessions, clock) = renewing();
        let mut client = Client::new(&app);
        client.post("/add/1").await;
        let old = client.id();
        clock.advance(EVERY);
        let requests: Vec<_> = (0..16)
            .map(|_| {
                let mut client = Client::with_id(&app, &old);
                tokio::spawn(async move {
                    client.post("/add/1").await;
                    client.id()
                })
            })
            .collect();
        let mut ids = Vec::new();
        for request in requests {
            ids.push(request.await.unwrap());
        }
        let [new] = &sessions.list()[..] else {
            panic!("one session")
        };
        assert_ne!(*new, old);
        assert!(ids.iter().all(|id| id == new || *id == old), "one new id for all");
        assert!(ids.contains(new), "and somebody is told");
        assert_eq!(sessions.call(new, Add(0)).await.unwrap(), 17);
    }
}

/// It found its session under the old id, and calls it when another request has renewed that.
#[tokio::test]
async fn line_18_a_request_under_way_goes_on_at_the_same_session() {
    let clock = ManualClock::new();
    let sessions = builder().clock(clock.clone()).build().unwrap();
    let layer = SessionLayer::new(sessions.clone())
        .with_renewal(EVERY, OVERLAP)
        .unwrap();
    let gate = Gate::new();
    let inner = gate.clone();
    let slow = move |session: Session<Counter>| {
        let gate = inner.clone();
        async move {
            assert!(session.is_started().await?);
            gate.pass().await;
            let total = session.call(Add(1)).await?;
            assert!(!session.is_new());
            Ok::<_, Error>(total.to_string())
        }
    };
    let app = routes().route("/slow", post(slow)).layer(layer);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    clock.advance(EVERY - Duration::from_secs(1));
    let mut slow = Client::with_id(&app, &client.id());
    let (answer, ()) = tokio::join!(slow.post("/slow"), async {
        gate.reached().await;
        clock.advance(Duration::from_secs(1));
        client.post("/add/1").await;
        gate.open();
    });
    assert_eq!(answer.body, "3");
    assert_eq!(slow.id(), client.id());
    assert_eq!(sessions.list(), [client.id()]);
}

#[tokio::test]
async fn line_18_a_rotation_at_login_ends_the_overlap() {
    let (app, sessions, clock) = renewing();
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let old = client.id();
    clock.advance(EVERY);
    client.post("/add/1").await;
    let renewed = client.id();
    client.post("/login").await;
    for id in [&old, &renewed] {
        assert_eq!(Client::with_id(&app, id).get("/look").await.body, "none");
    }
    assert_eq!(sessions.list(), [client.id()]);
    let end: SessionId = client.id();
    client.post("/logout").await;
    assert_eq!(Client::with_id(&app, &end).get("/look").await.body, "none");
}

#[tokio::test]
async fn line_18_an_overlap_as_long_as_an_ids_life_is_refused() {
    let layer = || SessionLayer::new(builder().build().unwrap());
    let refused = layer().with_renewal(OVERLAP * 2, OVERLAP).unwrap_err();
    assert!(matches!(refused, ConfigError::RenewalTooOften { .. }));
    assert!(layer().with_renewal(EVERY, Duration::ZERO).is_err());
    assert!(layer().with_renewal(EVERY, OVERLAP).is_ok());
}

/// In the store as well, and on another node the old id is dead at once: the overlap is known to the node that renewed.
#[tokio::test]
async fn line_18_a_durable_session_is_renewed_in_its_store() {
    let clock = ManualClock::new();
    let store = Arc::new(session_process::store::MemoryStore::with_clock(clock.clone()));
    let records = session_process::records::SessionRecords::builder_over(store)
        .clock(clock.clone())
        .build()
        .unwrap();
    let sessions = Sessions::<crate::durable::Ledger>::builder()
        .records(records.clone())
        .clock(clock.clone())
        .build()
        .unwrap();
    let layer = SessionLayer::new(sessions.clone())
        .with_renewal(EVERY, OVERLAP)
        .unwrap();
    let app = super::routes().with_state(records.clone()).layer(layer);
    let mut client = Client::new(&app);
    client.post("/add").await;
    let old = client.id();
    clock.advance(EVERY);
    assert_eq!(client.post("/add").await.body, "2");
    assert_ne!(client.id(), old);
    assert!(records.peek(&old).await.unwrap().is_none());
    assert!(records.peek(&client.id()).await.unwrap().is_some());
    let mut late = Client::with_id(&app, &old);
    assert_eq!(late.get("/look").await.body, "2");
    assert_eq!(late.id(), client.id());
}
