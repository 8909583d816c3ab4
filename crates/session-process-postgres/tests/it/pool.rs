//! On connections of the application's own pool.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use session_process::{
    locks::Locks,
    records::{NewSession, RecordError},
    store::{LockName, Notice, SessionStore},
};
use session_process_postgres::{Builder, Coherence, Connection, OpenError, PostgresStore};
use testkit::postgres::{Database, Proxy, Server};
use tokio::task::block_in_place;
use tokio_postgres::NoTls;

use crate::support::{kill, records};
use crate::traffic::{TIMEOUT, Traffic};

/// What a store takes of it: two writers, two readers, cleanup, locks, and what asks or proves.
const HELD: usize = 7;

fn pool(database: &Database, size: usize) -> Pool {
    let config = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let timeouts = Timeouts {
        wait: Some(Duration::from_millis(100)),
        ..Timeouts::default()
    };
    Pool::builder(Manager::from_config(database.config(), NoTls, config))
        .max_size(size)
        .timeouts(timeouts)
        .runtime(Runtime::Tokio1)
        .build()
        .expect("good settings")
}

fn from_pool(pool: &Pool) -> Builder {
    let pool = pool.clone();
    let connect = move || {
        let pool = pool.clone();
        async move {
            let object = pool.get().await?;
            Ok::<_, PoolError>(Connection::lent(
                object,
                |object| object,
                |object| drop(Object::take(object)),
            ))
        }
    };
    Builder::from_connect(connect).timeout(TIMEOUT)
}

/// Everything that takes a connection.
async fn use_all(store: &PostgresStore) {
    let records = records(store);
    let locks = Locks::new(store.clone());
    let id = records.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    let lock = locks.lock(LockName::of_session(&id, "x")).await.unwrap();
    // One reader does, unless it is busy.
    let (one, two) = tokio::join!(records.get_fresh(&id), records.get_fresh(&id));
    assert!(one.unwrap().is_some() && two.unwrap().is_some());
    records.clean_up().await.unwrap();
    lock.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_holds_seven_connections_of_a_pool_and_gives_none_back() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pool = pool(&database, HELD + 1);
    let store = from_pool(&pool).open().await.unwrap();
    assert_eq!(store.staleness_bound(), Some(Duration::from_secs(1)), "it polls");
    // Which writer a session gets is chance, and so is whether the second reader is needed.
    while pool.status().size - pool.status().available < HELD {
        use_all(&store).await;
    }
    for _ in 0..20 {
        use_all(&store).await;
        let client = pool.get().await.expect("one is left for the application");
        let set = client.query_one("SHOW enable_seqscan", &[]).await.unwrap();
        assert_eq!(
            set.get::<_, &str>(0),
            "on",
            "a connection with the store's settings went back to the pool"
        );
        assert!(pool.status().size <= HELD + 1);
    }
    store.shutdown().await;
    while pool.status().size > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let backends =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let admin = database.connect().await;
    while admin.query_one(backends, &[]).await.unwrap().get::<_, i64>(0) > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_their_pools_lose_nothing_when_all_connections_are_killed() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pools = [pool(&database, HELD), pool(&database, HELD)];
    let polls = from_pool(&pools[0]).coherence(Coherence::Poll {
        interval: Duration::from_secs(2),
    });
    // And one that listens, on a connection beside the pool.
    let listens = from_pool(&pools[1]).listen_with(database.config());
    let (polls, listens) = (polls.open().await.unwrap(), listens.open().await.unwrap());
    assert_eq!(polls.staleness_bound(), listens.staleness_bound());
    let traffic = Traffic::begin(&[polls, listens]).await;
    let admin = database.connect().await;
    for _ in 0..3 {
        traffic.flows([0, 1]).await;
        assert!(kill(&admin, "true").await > 4);
    }
    traffic.end().await;
    assert!(pools.iter().all(|pool| pool.status().size <= HELD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_a_free_connection_is_a_database_that_is_away() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pool = pool(&database, HELD);
    let mut taken = Vec::new();
    for _ in 0..HELD {
        taken.push(pool.get().await.unwrap());
    }
    let refused = from_pool(&pool).open().await;
    assert!(matches!(refused, Err(OpenError::Unreachable(_))), "{refused:?}");
    taken.pop();
    let store = from_pool(&pool).open().await.expect("one is enough to look");
    let records = records(&store);
    drop(taken);
    let id = loop {
        match records.create(NewSession::new()).await {
            Ok(session) => break session.id,
            Err(RecordError::Store(error)) => assert!(error.is_transient(), "{error:?}"),
            Err(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    while !records.get(&id).await.is_ok_and(|found| found.is_some()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The one that proves that notices arrive is ended with the store too, also in the middle of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_shut_down_holds_no_connection_however_its_proofs_are_doing() {
    let server = Server::shared().await;
    let database = server.database().await;
    let proxy = Proxy::before(&database.config()).await;
    let (config, held) = (proxy.config(&database.config()), Arc::new(()));
    let asked = Arc::new(AtomicUsize::new(0));
    let connect = {
        let (held, asked) = (Arc::clone(&held), Arc::clone(&asked));
        move || {
            let (config, held) = (config.clone(), Arc::clone(&held));
            asked.fetch_add(1, SeqCst);
            async move {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok::<_, tokio_postgres::Error>(Connection::lent((client, held), |(client, _)| client, drop))
            }
        }
    };
    let store = Builder::from_connect(connect)
        .timeout(Duration::from_secs(60))
        .listen_with(database.config())
        .coherence(Coherence::Listen {
            interval: Duration::from_millis(10),
            patience: Duration::from_millis(200),
        })
        .open()
        .await
        .unwrap();
    use_all(&store).await;
    // The proofs get lost, and the listener begins anew: with a connection that never comes about.
    proxy.hold();
    let before = asked.load(SeqCst);
    while asked.load(SeqCst) == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    store.shutdown().await;
    drop(store);
    let begun = Instant::now();
    // This one, and the one of `connect`, which goes with the store.
    while Arc::strong_count(&held) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is still held");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The store doesn't hear any more, and says so before it closes what somebody else may take his time with.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_slow_to_close_keeps_no_cache_in_use() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (release, released) = mpsc::channel::<()>();
    let (is_slow, released) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(released)));
    let connect = {
        let (config, is_slow) = (database.config(), Arc::clone(&is_slow));
        move || {
            let (config, is_slow, released) = (config.clone(), Arc::clone(&is_slow), Arc::clone(&released));
            async move {
                let (client, connection) = config.connect(NoTls).await?;
                tokio::spawn(connection);
                Ok::<_, tokio_postgres::Error>(Connection::lent(
                    client,
                    |client| client,
                    move |client| {
                        if is_slow.load(SeqCst) {
                            // An error: the test is over.
                            let _ = block_in_place(|| released.lock().unwrap().recv());
                        }
                        drop(client);
                    },
                ))
            }
        }
    };
    let mut listens = database.config();
    listens.application_name("listens");
    let store = Builder::from_connect(connect)
        .listen_with(listens)
        .open()
        .await
        .unwrap();
    let mut changes = store.changes();
    assert!(store.health().await.cache.is_trusted());
    is_slow.store(true, SeqCst);
    kill(&database.connect().await, "application_name = 'listens'").await;
    let told = tokio::time::timeout(Duration::from_secs(10), changes.next()).await;
    drop(release);
    assert_eq!(told.expect("it is told at once"), Some(Notice::Deaf));
}
