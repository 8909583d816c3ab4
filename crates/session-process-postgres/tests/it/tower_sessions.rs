//! What tower-sessions and axum_session get wrong, each by its name in the project's list, on two nodes.
//!
//! | Scenario | Where, if not here |
//! |---|---|
//! | 100 requests add 1 to a counter, with 5 ms of waiting in the handler | |
//! | two nodes, 20 alternating increments | `nodes` |
//! | logout on one node, read on the other | `nodes`, and here for a process |
//! | logout during a 300 ms request | |
//! | database down: requests hang 30 s | `faults`; what becomes of the failed save, here |
//! | `session=attacker` | the web crate, for every store |
//! | one database error ends the cleanup task for good | |

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use session_process::{
    CallError, Context, Durability, EndReason, Handle, Process, SaveError, Schema, SessionId, Sessions,
    events::Event,
    records::{NewSession, SessionRecords, UpdateError},
    store::SessionStore,
};
use session_process_postgres::{Builder, PostgresStore, Reachability};
use testkit::{
    Gate,
    conformance::StoreUnderTest,
    postgres::{Disk, Server},
};

use crate::support::{Fresh, fresh, kill, records};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    n: u64,
}

impl Process for Counter {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("counter", 1));
}

/// A request that waits in its midst.
struct Add;

impl Handle<Add> for Counter {
    type Reply = u64;
    async fn handle(&mut self, _: Add, _: &mut Context<Self>) -> u64 {
        let n = self.n;
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.n = n + 1;
        self.n
    }
}

struct Total;

impl Handle<Total> for Counter {
    type Reply = u64;
    async fn handle(&mut self, _: Total, cx: &mut Context<Self>) -> u64 {
        cx.unchanged();
        self.n
    }
}

/// A request that takes its time.
struct Slow(Gate);

impl Handle<Slow> for Counter {
    type Reply = ();
    async fn handle(&mut self, Slow(gate): Slow, _: &mut Context<Self>) {
        gate.pass().await;
        self.n += 1_000;
    }
}

fn node(store: &PostgresStore) -> (SessionRecords, Sessions<Counter>) {
    let records = records(store);
    let sessions = Sessions::<Counter>::builder().records(records.clone());
    (records, sessions.build().unwrap())
}

struct Two {
    _fresh: Fresh,
    records: [SessionRecords; 2],
    sessions: [Sessions<Counter>; 2],
}

async fn two() -> Two {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let ((one, here), (two, there)) = (node(&fresh.store), node(&other));
    Two {
        _fresh: fresh,
        records: [one, two],
        sessions: [here, there],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_that_add_one_and_wait_in_their_midst_add_a_hundred() {
    let nodes = two().await;
    let id = SessionId::generate();
    let [one, two] = &nodes.sessions;
    one.start(&id).await.unwrap();
    assert_eq!(one.call(&id, Add).await.unwrap(), 1);
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (one, id) = (one.clone(), id.clone());
            tokio::spawn(async move { one.call(&id, Add).await.unwrap() })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
    assert_eq!(one.call(&id, Total).await.unwrap(), 101);
    assert_eq!(
        two.call(&id, Total).await.unwrap(),
        101,
        "the other node loads what was answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn alternating_increments_of_a_process_on_two_nodes_add_up() {
    let nodes = two().await;
    let id = SessionId::generate();
    nodes.sessions[0].start(&id).await.unwrap();
    for n in 0..20 {
        let sessions = &nodes.sessions[n % 2];
        loop {
            match sessions.call(&id, Add).await {
                Ok(_) => break,
                // The other's state has not come yet; this says "repeat", and nothing is overwritten.
                Err(CallError::NotSaved {
                    source: SaveError::Conflict,
                    ..
                }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    for sessions in &nodes.sessions {
        while sessions.call(&id, Total).await.unwrap() != 20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_on_one_node_ends_the_process_on_the_other() {
    let nodes = two().await;
    let id = SessionId::generate();
    nodes.sessions[0].start(&id).await.unwrap();
    nodes.sessions[1].call(&id, Total).await.unwrap();
    let mut monitor = nodes.sessions[1].monitor(&id).unwrap();
    nodes.sessions[0].terminate(&id).await.unwrap();
    assert_eq!(monitor.ended().await, EndReason::Terminated);
    for sessions in &nodes.sessions {
        assert_eq!(sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_during_a_request_is_not_undone_by_the_request() {
    // On the same node, on the other one, and by the records alone.
    for how in 0..3 {
        let nodes = two().await;
        let id = SessionId::generate();
        let [one, other] = &nodes.sessions;
        one.start(&id).await.unwrap();
        let gate = Gate::new();
        let request = {
            let (one, id, gate) = (one.clone(), id.clone(), gate.clone());
            tokio::spawn(async move { one.call(&id, Slow(gate)).await })
        };
        gate.reached().await;
        let logout = {
            let (one, other, records, id) = (one.clone(), other.clone(), nodes.records[1].clone(), id.clone());
            tokio::spawn(async move {
                match how {
                    0 => one.terminate(&id).await.unwrap(),
                    1 => other.terminate(&id).await.unwrap(),
                    _ => assert!(records.delete(&id).await.unwrap()),
                }
            })
        };
        while nodes.records[1].get_fresh(&id).await.unwrap().is_some() {
            // On the same node the logout may wait for the request.
            if how == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        gate.open_for_all();
        logout.await.unwrap();
        let _ = request.await.unwrap();
        for records in &nodes.records {
            assert!(records.get_fresh(&id).await.unwrap().is_none(), "{how}: it is back");
            assert!(
                records.get(&id).await.unwrap().is_none(),
                "{how}: it is back in a cache"
            );
        }
        for sessions in &nodes.sessions {
            assert_eq!(sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_failed_is_in_no_cache_and_the_answer_comes_in_time() {
    let server = Server::private(Disk::Careless).await;
    let database = server.database().await;
    let store = Builder::from_config(database.config())
        .timeout(Duration::from_secs(1))
        .open()
        .await
        .unwrap();
    let (records, sessions) = node(&store);
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    sessions.call(&id, Add).await.unwrap();
    let other = records.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    tokio::task::block_in_place(|| server.stop());
    let begun = Instant::now();
    assert!(matches!(
        sessions.call(&id, Add).await,
        Err(CallError::NotSaved {
            source: SaveError::Store(_),
            ..
        })
    ));
    let failed = records.update(&other, |attributes| attributes.insert("n", 2)).await;
    assert!(matches!(failed, Err(UpdateError::Store(_))), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    tokio::task::block_in_place(|| server.start());
    // All of its connections, each of which comes back by itself.
    while {
        let health = store.health().await;
        health.database != Reachability::Connected || !health.cache.is_trusted()
    } {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The server was not there: nothing of it was done, and no cache says otherwise.
    assert_eq!(sessions.call(&id, Total).await.unwrap(), 1);
    assert_eq!(
        records.get(&other).await.unwrap().unwrap().get::<u64>("n").unwrap(),
        Some(1)
    );
    assert_eq!(sessions.call(&id, Add).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cleanup_goes_on_after_errors_of_the_database() {
    let fresh = fresh().await;
    let records = SessionRecords::builder(fresh.store.clone())
        .cleanup_interval(Duration::from_millis(20))
        .build()
        .unwrap();
    let admin = fresh.database.connect().await;
    let mut failed = records.events();
    for _ in 0..2 {
        // A table that is away, and all connections: the cleanup meets both.
        admin
            .batch_execute("ALTER TABLE session_process.session RENAME TO elsewhere")
            .await
            .unwrap();
        let wanted = |event: &Event| matches!(event, Event::RecordCleanupFailed { .. }).then_some(());
        failed.find(wanted).await.unwrap();
        kill(&admin, "true").await;
        admin
            .batch_execute("ALTER TABLE session_process.elsewhere RENAME TO session")
            .await
            .unwrap();
        loop {
            let new = NewSession::new().idle_timeout(Duration::from_secs(60));
            if records.create(new).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fresh.advance(Duration::from_secs(61));
        let rows = || admin.query_one("SELECT count(*) FROM session_process.session", &[]);
        while rows().await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(fresh.store.load(&[]).await.is_ok());
}
