//! Readers share a queue, and answer for each other.

use std::time::Duration;

use session_process::store::{Create, Op, SessionKey, SessionStore, Snapshot};
use session_process_postgres::{Builder, Coherence};
use testkit::postgres::Server;
use tokio::task::JoinSet;

use crate::support::{apply, change, fresh};

/// Also: a reader comes back by itself, without anybody who asks for something in vain before.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_gets_no_connection_leaves_the_reads_to_the_other() {
    let server = Server::shared().await;
    let database = server.database().await;
    let mut config = database.config();
    config.application_name("under test");
    let store = Builder::from_config(config)
        .coherence(Coherence::Off)
        .open()
        .await
        .unwrap();
    let key = SessionKey::from_bytes([1; 32]);
    apply(&store, change(key, Op::Create(Box::default()))).await.unwrap();
    let admin = database.connect().await;
    let readers = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'under \
                   test' AND query ~ '^-- Live sessions (by key|of an owner)'";
    // Both have something to do at last.
    while admin.query(readers, &[]).await.unwrap().len() < 2 {
        let loads: Vec<_> = (0..1_000)
            .map(|_| {
                tokio::spawn({
                    let store = store.clone();
                    async move { store.load(&[key]).await }
                })
            })
            .collect();
        for load in loads {
            assert!(load.await.unwrap().unwrap()[0].is_some());
        }
    }
    let name = database.name();
    let elsewhere = server.connect().await;
    for _ in 0..3 {
        elsewhere
            .batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
            .await
            .unwrap();
        let kill = format!("SELECT pg_terminate_backend(pid, 10000) FROM ({readers} LIMIT 1) AS one");
        assert_eq!(admin.execute(&kill, &[]).await.unwrap(), 1);
        for _ in 0..2_000 {
            assert!(store.load(&[key]).await.expect("one of them answers")[0].is_some());
        }
        elsewhere
            .batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
            .await
            .unwrap();
        // By itself: nobody asks for anything.
        while admin.query(readers, &[]).await.unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// 30 MiB, which is more than one answer should have.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_records_are_loaded_in_portions_each_by_whom_it_was_asked_for() {
    let fresh = fresh().await;
    let keys: Vec<SessionKey> = (0..120).map(|n| SessionKey::from_bytes([n; 32])).collect();
    let bytes = |key: &SessionKey| vec![key.as_bytes()[0]; 256 << 10];
    for some in keys.chunks(10) {
        let create = |key: &SessionKey| {
            let snapshot = Snapshot {
                kind: "large".into(),
                schema: 1,
                bytes: bytes(key).into(),
            };
            let create = Create {
                snapshot: Some(snapshot),
                ..Create::default()
            };
            change(*key, Op::Create(Box::new(create)))
        };
        let outcomes = fresh.store.commit(some.iter().map(create).collect()).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
    }
    // Of one caller, and of many.
    for size in [120, 1, 7] {
        let mut callers = JoinSet::new();
        for some in keys.chunks(size) {
            let (store, some) = (fresh.store.clone(), some.to_vec());
            callers.spawn(async move { (store.load(&some).await.unwrap(), some) });
        }
        for (found, asked) in callers.join_all().await {
            for (record, key) in found.into_iter().zip(asked) {
                assert!(*record.unwrap().snapshot.unwrap().bytes == *bytes(&key));
            }
        }
    }
}
