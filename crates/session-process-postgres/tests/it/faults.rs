//! The database goes away, comes back, hangs: nobody is served an old value as current beyond the bound, and nothing
//! that was acknowledged is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use session_process::{
    SessionId,
    records::{NewSession, SessionRecords},
    store::{Op, SessionKey, SessionStore, StoreError},
};
use session_process_postgres::{Builder, Coherence, PostgresStore};
use testkit::postgres::{Database, Disk, Server};

use crate::support::{apply, change, fresh};

const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(400);
/// For what the machine is busy with besides; a reader that is not run can't be late.
const SLACK: Duration = Duration::from_millis(500);

async fn store(database: &Database) -> PostgresStore {
    Builder::from_config(database.config())
        .coherence(Coherence::Listen {
            interval: INTERVAL,
            patience: PATIENCE,
        })
        .timeout(Duration::from_secs(1))
        .open()
        .await
        .expect("the server is there")
}

fn records(store: &PostgresStore) -> SessionRecords {
    let builder = SessionRecords::builder(store.clone()).cleanup_interval(None);
    builder.build().expect("good settings")
}

/// One node writes, another reads all the time; a checker compares.
struct Traffic {
    stop: Arc<AtomicBool>,
    /// The greatest value that was acknowledged.
    acknowledged: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    writer: tokio::task::JoinHandle<()>,
    reader: tokio::task::JoinHandle<()>,
    writes: SessionRecords,
    id: SessionId,
}

impl Traffic {
    async fn begin(database: &Database) -> Self {
        let (one, two) = (store(database).await, store(database).await);
        let bound = two.staleness_bound().expect("it listens");
        let (writes, reads_from) = (records(&one), records(&two));
        let id = writes
            .create(NewSession::new().attribute("n", 0_u64))
            .await
            .expect("it works")
            .id;
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reads = Arc::new(AtomicU64::new(0));
        let history = Arc::new(std::sync::Mutex::new(vec![(Instant::now(), 0_u64)]));
        let writer = {
            let (records, id, stop) = (writes.clone(), id.clone(), Arc::clone(&stop));
            let (acknowledged, history) = (Arc::clone(&acknowledged), Arc::clone(&history));
            tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let added = records.update(&id, |attributes| {
                        attributes.update("n", |n: &mut u64| {
                            *n += 1;
                            *n
                        })
                    });
                    match added.await {
                        Ok(n) => {
                            // `n` may jump: an error leaves open whether it was written.
                            history.lock().unwrap().push((Instant::now(), n));
                            acknowledged.store(n, Ordering::Release);
                        }
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            })
        };
        let reader = {
            let (id, stop, reads) = (id.clone(), Arc::clone(&stop), Arc::clone(&reads));
            tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let begun = Instant::now();
                    match reads_from.get(&id).await {
                        Ok(Some(view)) => {
                            let n: u64 = view.get("n").unwrap().unwrap();
                            let due = begun.checked_sub(bound + SLACK);
                            let least = history
                                .lock()
                                .unwrap()
                                .iter()
                                .rev()
                                .find(|(at, _)| due.is_some_and(|due| *at < due))
                                .map_or(0, |(_, n)| *n);
                            assert!(
                                n >= least,
                                "read {n}, and {least} was acknowledged {:?} before",
                                bound + SLACK
                            );
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(None) => panic!("a failure to read became \"no session\""),
                        Err(_) => {}
                    }
                    tokio::task::yield_now().await;
                }
            })
        };
        Self {
            stop,
            acknowledged,
            reads,
            writer,
            reader,
            writes,
            id,
        }
    }

    /// Until writes and reads go through (again), `more` of each.
    async fn flows(&self, more: u64) {
        let (writes, reads) = (
            self.acknowledged.load(Ordering::Acquire),
            self.reads.load(Ordering::Acquire),
        );
        while self.acknowledged.load(Ordering::Acquire) < writes + more
            || self.reads.load(Ordering::Acquire) < reads + more
        {
            assert!(
                !self.writer.is_finished() && !self.reader.is_finished(),
                "the checker found something"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) {
        self.flows(20).await;
        self.stop.store(true, Ordering::Release);
        self.writer.await.expect("the writer");
        self.reader.await.expect("the checker");
        let view = self.writes.get_fresh(&self.id).await.unwrap().expect("it is there");
        let n: u64 = view.get("n").unwrap().unwrap();
        assert!(
            n >= self.acknowledged.load(Ordering::Acquire),
            "an acknowledged write was lost"
        );
    }
}

const KILL_LISTENERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND query ~ '^LISTEN|pg_notify\\(\\$1, \\$2\\)'";

/// gopgsession: "listener away 5 s, an update meanwhile": the old value is served for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_killed_serves_nothing_old() {
    let server = Server::shared().await;
    let database = server.database().await;
    let traffic = Traffic::begin(&database).await;
    let admin = database.connect().await;
    for _ in 0..5 {
        traffic.flows(20).await;
        // The one that was killed before may not be back yet.
        while admin.execute(KILL_LISTENERS, &[]).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_can_be_killed_again_and_again() {
    let server = Server::shared().await;
    let database = server.database().await;
    let traffic = Traffic::begin(&database).await;
    let admin = database.connect().await;
    for _ in 0..5 {
        traffic.flows(20).await;
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND \
                    pid <> pg_backend_pid()";
        assert!(admin.execute(kill, &[]).await.unwrap() >= 2);
    }
    traffic.end().await;
}

/// tower-sessions: "database down: requests hang 30 s".
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_comes_back_has_all_that_was_acknowledged() {
    let server = Server::private(Disk::Durable).await;
    let database = server.database().await;
    let traffic = Traffic::begin(&database).await;
    let node = store(&database).await;
    traffic.flows(50).await;
    for crash in [true, false] {
        tokio::task::block_in_place(|| if crash { server.crash() } else { server.stop() });
        let begun = Instant::now();
        let refused = node.load(&[SessionKey::from_bytes([9; 32])]).await;
        assert!(refused.is_err_and(|error| error.is_transient()), "never \"no session\"");
        assert!(begun.elapsed() < Duration::from_secs(3), "and at once");
        assert!(!node.health().await.reachable);
        tokio::task::block_in_place(|| server.start());
        traffic.flows(50).await;
    }
    while !node.health().await.listening {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_an_error_in_time_and_caches_are_not_used_meanwhile() {
    let server = Server::private(Disk::Careless).await;
    let database = server.database().await;
    let traffic = Traffic::begin(&database).await;
    let node = store(&database).await;
    let records = records(&node);
    let id = records.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    assert!(records.get(&id).await.unwrap().is_some(), "cached");
    traffic.flows(20).await;
    server.freeze();
    let begun = Instant::now();
    while node.health().await.listening {}
    assert!(begun.elapsed() < Duration::from_secs(5));
    let refused = records.get(&id).await;
    assert!(refused.is_err_and(|error| error.is_transient()), "the cache isn't used");
    server.thaw();
    while !node.health().await.listening {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(records.get(&id).await.unwrap().is_some());
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_locks_holds_up_its_own_session_alone() {
    let fresh = fresh().await;
    let store = Builder::from_config(fresh.database.config())
        .lock_timeout(Duration::from_millis(200))
        .writers(std::num::NonZeroUsize::MIN)
        .open()
        .await
        .unwrap();
    let (locked, free) = (SessionKey::from_bytes([1; 32]), SessionKey::from_bytes([2; 32]));
    for key in [locked, free] {
        apply(&store, change(key, Op::Create(Box::default()))).await.unwrap();
    }
    let mut client = fresh.database.connect().await;
    let transaction = client.transaction().await.unwrap();
    let lock = "SELECT 1 FROM session_process.session WHERE key = $1 FOR UPDATE";
    transaction.query(lock, &[&&locked.as_bytes()[..]]).await.unwrap();
    let edit = |key| vec![change(key, Op::Edit(Box::default()))];
    // The first occupies the writer, so that the other two go together.
    let (first, held, other) = tokio::join!(
        store.commit(edit(free)),
        store.commit(edit(locked)),
        store.commit(edit(free))
    );
    assert!(first.unwrap()[0].is_ok());
    assert!(matches!(held, Err(StoreError::Timeout { .. })), "{held:?}");
    assert!(other.unwrap()[0].is_ok());
    transaction.rollback().await.unwrap();
    assert!(
        apply(&store, change(locked, Op::Delete)).await.is_ok(),
        "the writer goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_fails_alone() {
    let fresh = fresh().await;
    let keys: Vec<SessionKey> = (0..8).map(|n| SessionKey::from_bytes([n; 32])).collect();
    let tasks: Vec<_> = keys
        .iter()
        .map(|key| {
            let (store, key) = (fresh.store.clone(), *key);
            tokio::spawn(async move {
                let create = session_process::store::Create {
                    snapshot: Some(session_process::store::Snapshot {
                        // PostgreSQL keeps no NUL in a text.
                        kind: if key.as_bytes()[0] == 3 { "a\0" } else { "a" }.into(),
                        schema: 1,
                        bytes: [1, 2, 3][..].into(),
                    }),
                    ..Default::default()
                };
                store.commit(vec![change(key, Op::Create(Box::new(create)))]).await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let outcome = task.await.unwrap();
        assert_eq!(outcome.is_ok(), n != 3, "{n}: {outcome:?}");
    }
    let found = fresh.store.load(&keys).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 7);
}
