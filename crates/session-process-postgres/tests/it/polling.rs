//! As behind a pooler in transaction mode: no `LISTEN`, no settings of a session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use session_process::{
    records::NewSession,
    store::{Op, SessionKey, SessionStore},
};
use session_process_postgres::{Builder, Coherence, PostgresStore};
use testkit::postgres::{Database, Disk, Server};

use crate::{
    support::{change, records},
    traffic::{TIMEOUT, Traffic},
};

const INTERVAL: Duration = Duration::from_millis(200);

async fn node(database: &Database) -> PostgresStore {
    Builder::from_config(database.config())
        .coherence(Coherence::Poll { interval: INTERVAL })
        .behind_pooler(true)
        .timeout(TIMEOUT)
        .open()
        .await
        .expect("the server is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_that_is_older_than_the_interval() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (one, two) = (node(&database).await, node(&database).await);
    assert_eq!(one.staleness_bound(), Some(INTERVAL));
    let traffic = Traffic::begin(&[one, two]).await;
    traffic.flows([0, 1]).await;
    let listens = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^LISTEN'";
    let row = database.connect().await.query_one(listens, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_are_in_use_and_what_another_node_ended_is_gone_by_itself() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (one, two) = (records(&node(&database).await), records(&node(&database).await));
    let id = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    assert!(two.get(&id).await.unwrap().is_some());
    assert!(one.stats().cache_in_use && two.stats().cache_in_use);
    assert!(one.delete(&id).await.unwrap());
    let ended = Instant::now();
    while two.get(&id).await.unwrap().is_some() {
        assert!(ended.elapsed() < INTERVAL + Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_database_is_away_caches_are_not_used_and_afterwards_again() {
    let server = Server::private(Disk::Careless).await;
    let database = server.database().await;
    let store = node(&database).await;
    let records = records(&store);
    let id = records.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    tokio::task::block_in_place(|| server.stop());
    while store.health().await.cache.is_trusted() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(records.get(&id).await.is_err_and(|error| error.is_transient()));
    tokio::task::block_in_place(|| server.start());
    while !store.health().await.cache.is_trusted() || !records.get(&id).await.is_ok_and(|found| found.is_some()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Without the settings that keep the order of the locks, rows are locked in any: a transaction that is ended for that
/// is repeated, and nobody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn batches_of_two_nodes_in_opposite_orders_all_take_effect() {
    let server = Server::shared().await;
    let database = server.database().await;
    let nodes = [node(&database).await, node(&database).await];
    let keys: Arc<Vec<SessionKey>> = Arc::new((0..60).map(|n| SessionKey::from_bytes([n; 32])).collect());
    let created = keys
        .iter()
        .map(|key| change(*key, Op::Create(Box::default())))
        .collect();
    assert!(nodes[0].commit(created).await.unwrap().iter().all(Result::is_ok));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (node, keys) = (nodes[n % 2].clone(), Arc::clone(&keys));
            tokio::spawn(async move {
                for _ in 0..10 {
                    let edit = |key: &SessionKey| change(*key, Op::Edit(Box::default()));
                    let edits = if n % 2 == 0 {
                        keys.iter().map(edit).collect()
                    } else {
                        keys.iter().rev().map(edit).collect()
                    };
                    assert!(node.commit(edits).await.unwrap().iter().all(Result::is_ok));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let found = nodes[0].load(&keys).await.unwrap();
    assert!(found.into_iter().all(|record| record.unwrap().version.0 % 65_536 == 80));
}
