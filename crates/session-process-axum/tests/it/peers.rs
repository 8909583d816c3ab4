//! What the session libraries of today get wrong, shown by running them; here it must hold. And what their users ask for
//! most.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use axum::{Router, extract::State, routing::post};
use session_process::{
    Event, ManualClock, SessionId, Sessions,
    events::RefusedId,
    records::{NewSession, SessionRecords},
    store::{MemoryStore, SessionStore},
};
use session_process_axum::{Error, Session, SessionLayer};
use session_process_sqlite::SqliteStore;
use testkit::Gate;

use crate::{
    durable::{self, Fickle, Ledger, Run},
    support::*,
};

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

/// With 5 ms of waiting in the handler theirs end at 2 or 3 in every store. Here the wait is for the store itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_end_at_a_hundred_and_one_in_every_store() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Arc::new(SqliteStore::open(dir.path().join("sessions.db")).await.unwrap());
    let stores: [Arc<dyn SessionStore>; 2] = [Arc::new(MemoryStore::new()), sqlite.clone()];
    for store in stores {
        let run = Run::over(store.clone());
        let mut first = Client::new(&run.app);
        assert_eq!(first.post("/add").await.body, "1");
        let id = first.id();
        let requests: Vec<_> = (0..100)
            .map(|_| {
                let mut client = Client::with_id(&run.app, &id);
                tokio::spawn(async move { client.post("/add").await.status })
            })
            .collect();
        for request in requests {
            assert!(request.await.unwrap().is_success());
        }
        run.crash().await;
        let run = Run::over(store);
        assert_eq!(Client::with_id(&run.app, &id).get("/look").await.body, "101");
    }
    sqlite.shutdown().await;
}

/// Theirs end at 11, each node with a cache of its own. Here a node that was overtaken says so (409, "repeat"), and
/// nothing that was answered with success is lost.
#[tokio::test]
async fn twenty_alternating_increments_on_two_nodes_end_at_twenty_one() {
    let store = Arc::new(MemoryStore::new());
    let nodes = [Run::over(store.clone()), Run::over(store.clone())];
    let mut client = Client::new(&nodes[0].app);
    client.post("/add").await;
    let id = client.id();
    for nth in 0..20 {
        let mut client = Client::with_id(&nodes[nth % 2].app, &id);
        loop {
            let answer = client.post("/add").await;
            assert_eq!(answer.set_cookie(), None);
            match answer.status.as_u16() {
                200 => break,
                409 => {}
                other => panic!("{other}: {}", answer.body),
            }
        }
    }
    let [one, other] = nodes;
    one.crash().await;
    other.crash().await;
    let run = Run::over(store);
    assert_eq!(Client::with_id(&run.app, &id).get("/look").await.body, "21");
}

/// Theirs comes back: the slow request saves it again at its end. Here also where the state is in a store.
#[tokio::test]
async fn a_logout_during_a_slow_request_is_final_in_the_store_too() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let gate = Gate::new();
    let slow = |State(gate): State<Gate>, session: Session<Ledger>| async move {
        session.call(durable::Add(1)).await?;
        gate.pass().await;
        Ok::<_, Error>("done")
    };
    let app = Router::new()
        .route("/slow", post(slow))
        .with_state(gate.clone())
        .layer(SessionLayer::new(run.sessions.clone()));
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let mut other = Client::with_id(&app, &client.id());
    let (slow, ()) = tokio::join!(other.post("/slow"), async {
        gate.reached().await;
        client.post("/logout").await;
        gate.open();
    });
    assert_eq!((slow.body.as_str(), slow.set_cookie()), ("done", None));
    run.crash().await;
    assert!(store.inner.is_empty(), "and nothing was written afterwards");
}

/// Records over a store, on a clock that the test drives.
fn on_a_clock() -> (ManualClock, Arc<Fickle>, SessionRecords) {
    let clock = ManualClock::new();
    let store = Arc::new(Fickle::over(MemoryStore::with_clock(clock.clone())));
    let records = SessionRecords::builder_over(store.clone())
        .clock(clock.clone())
        .build()
        .unwrap();
    (clock, store, records)
}

/// Theirs hang for 30 seconds.
#[tokio::test]
async fn a_store_that_does_not_answer_is_503_after_three_seconds() {
    let (clock, store, records) = on_a_clock();
    let sessions = Sessions::<Ledger>::builder()
        .records(records)
        .clock(clock.clone())
        .build()
        .unwrap();
    let app = crate::security::routes()
        .with_state(sessions.records().unwrap().clone())
        .layer(SessionLayer::new(sessions));
    store.hangs.store(true, SeqCst);
    let mut client = Client::with_id(&app, &SessionId::generate());
    let (answer, ()) = tokio::join!(client.get("/look"), async {
        while store.loads.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(3));
    });
    assert_eq!(answer.status, 503);
}

/// Theirs answers 500, and cache and database differ from then on.
#[tokio::test]
async fn after_a_failed_save_memory_and_store_are_the_same() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    store.away.store(true, SeqCst);
    assert_eq!(client.post("/add").await.status, 503);
    store.away.store(false, SeqCst);
    assert_eq!(client.get("/look").await.body, "1");
    run.crash().await;
    let run = Run::over(store);
    assert_eq!(Client::with_id(&run.app, &id).get("/look").await.body, "1");
}

/// With theirs, one database error ends the cleanup for good.
#[tokio::test]
async fn the_cleanup_goes_on_after_an_error_of_the_store() {
    let (clock, store, records) = on_a_clock();
    let mut events = records.events();
    records
        .create(NewSession::new().lives(Duration::from_secs(1)))
        .await
        .unwrap();
    store.away.store(true, SeqCst);
    // Each interval may pass before the task waits for it, so the clock is moved until it was heard of.
    let mut pass = async |wanted: fn(&Event) -> bool| {
        loop {
            clock.advance(Duration::from_secs(61));
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            let next = events.find(|event| Some(wanted(event)));
            let mut next = std::pin::pin!(next);
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx))).await;
            if polled == std::task::Poll::Ready(Some(true)) {
                return;
            }
        }
    };
    pass(|event| matches!(event, Event::RecordCleanupFailed { .. })).await;
    store.away.store(false, SeqCst);
    pass(|event| matches!(event, Event::RecordsCleaned { expired: 1, .. })).await;
    assert!(store.inner.is_empty());
}

/// Asked for by their users: fewer writes for keeping a session alive.
#[tokio::test]
async fn requests_that_only_look_write_nothing() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let version = run.records.peek(&client.id()).await.unwrap().unwrap().version();
    for _ in 0..100 {
        client.get("/look").await;
    }
    let view = run.records.get_fresh(&client.id()).await.unwrap().unwrap();
    assert_eq!((view.version(), store.touches.load(SeqCst)), (version, 0));
    run.crash().await;
    assert!(store.touches.load(SeqCst) <= 1, "all uses in one");
}

/// Asked for by their users: both time limits at once.
#[tokio::test]
async fn a_session_has_an_idle_timeout_and_a_lifetime_at_once() {
    let (sessions, clock) = timed();
    let app = app(&sessions);
    let mut idle = Client::new(&app);
    idle.post("/add/1").await;
    let mut used = Client::new(&app);
    used.post("/add/1").await;
    for minute in 1..10 {
        clock.advance(Duration::from_secs(59));
        assert_eq!(used.get("/look").await.body, "1");
        if minute > 1 {
            assert_eq!(idle.get("/look").await.body, "none");
        }
    }
    clock.advance(Duration::from_secs(600 - 9 * 59));
    assert_eq!(used.get("/look").await.body, "none");
}
