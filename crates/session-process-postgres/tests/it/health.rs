//! How a store is doing, as it tells.

use std::{
    future::poll_fn,
    num::NonZeroUsize,
    pin::{Pin, pin},
    task::Poll,
    time::{Duration, Instant},
};

use session_process::{
    records::NewSession,
    store::{Op, SessionKey, SessionStore},
};
use session_process_postgres::{Builder, CacheTrust, Coherence, Health, PostgresStore, Reachability, Waiting};
use testkit::postgres::{Disk, Proxy, Server};

use crate::{
    support::{apply, change, kill, records},
    traffic::{TIMEOUT, node},
};

/// Asks until it is so; nextest ends a wait for what never comes.
async fn until(store: &PostgresStore, is: impl Fn(&Health) -> bool) -> Health {
    loop {
        let health = store.health().await;
        if is(&health) {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_tells_of_a_cut_and_of_its_recovery() {
    let server = Server::shared().await;
    let database = server.database().await;
    let proxy = Proxy::before(&database.config()).await;
    let mut config = proxy.config(&database.config());
    if config.get_password().is_none() {
        // It is not asked for.
        config.password("verysecret");
    }
    let password = String::from_utf8(config.get_password().expect("set").to_vec()).unwrap();
    let store = node(config).await;
    let health = store.health().await;
    assert_eq!(
        (health.database, health.cache),
        (Reachability::Connected, CacheTrust::Listening)
    );
    assert!(health.is_ready() && health.round_trip.is_some() && health.last_error.is_none());

    let cut = std::time::Instant::now();
    proxy.refuse();
    proxy.cut();
    let health = until(&store, |health| {
        health.database == Reachability::Away && health.cache == CacheTrust::Suspect
    })
    .await;
    assert!(!health.is_ready() && health.round_trip.is_none());
    assert!(health.database_for <= cut.elapsed() && health.cache_for <= cut.elapsed());
    let error = health.last_error.clone().expect("why");
    assert_eq!((error.kind, error.sqlstate), ("unavailable", None));
    let text = format!("{health:?}");
    for secret in [&password, database.name(), "127.0.0.1"] {
        assert!(!text.contains(secret), "{text}");
    }
    // It counts on from when it began.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let later = store.health().await;
    assert!(later.database_for >= health.database_for + Duration::from_millis(50));

    let healed = std::time::Instant::now();
    proxy.heal();
    let health = until(&store, |health| {
        health.database == Reachability::Connected && health.cache == CacheTrust::Listening
    })
    .await;
    assert!(health.database_for <= healed.elapsed() && health.cache_for <= healed.elapsed());
    assert!(
        health.last_error.is_some_and(|error| error.ago <= cut.elapsed()),
        "it stays"
    );
}

/// Nobody writes afterwards, and a writer whose connection was given up is nothing that is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_server_hung_is_well_again_when_it_goes_on() {
    let server = Server::private(Disk::Careless).await;
    let database = server.database().await;
    let store = node(database.config()).await;
    let records = records(&store);
    let id = records.create(NewSession::new()).await.unwrap().id;
    server.freeze();
    assert!(records.delete(&id).await.is_err());
    until(&store, |health| {
        !health.is_ready() && health.cache == CacheTrust::Suspect
    })
    .await;
    server.thaw();
    until(&store, |health| {
        health.database == Reachability::Connected && health.cache.is_trusted()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_works_in_part_is_degraded() {
    let server = Server::shared().await;
    let database = server.database().await;
    let store = node(database.config()).await;
    let records = records(&store);
    records.create(NewSession::new()).await.unwrap();
    store.health().await;
    // Those who have a connection keep it.
    let (admin, elsewhere) = (database.connect().await, server.connect().await);
    let allow = |allowed: bool| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", database.name());
    elsewhere.batch_execute(&allow(false)).await.unwrap();
    assert_eq!(kill(&admin, "query ~ 'pg_notify\\(\\$1'").await, 1);
    let health = until(&store, |health| health.database != Reachability::Connected).await;
    assert_eq!(
        (health.database, health.cache),
        (Reachability::Degraded, CacheTrust::Suspect)
    );
    assert!(health.is_ready() && health.round_trip.is_some());
    let refused = until(&store, |health| {
        health.last_error.as_ref().is_some_and(|error| error.sqlstate.is_some())
    })
    .await;
    let code = refused.last_error.unwrap().sqlstate.unwrap();
    // `object_not_in_prerequisite_state`: connections are not allowed. Before: `admin_shutdown`.
    assert!(["55000", "57P01"].contains(&code.as_str()), "{code}");
    elsewhere.batch_execute(&allow(true)).await.unwrap();
    until(&store, |health| {
        health.database == Reachability::Connected && health.cache.is_trusted()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_writers_is_counted() {
    let server = Server::shared().await;
    let database = server.database().await;
    let patience = Duration::from_secs(30);
    let builder = Builder::from_config(database.config())
        .timeout(patience)
        .lock_timeout(patience);
    let store = builder.open().await.unwrap();
    assert_eq!(store.health().await.waiting, Waiting::default());
    let mut admin = database.connect().await;
    let lock = admin.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE session_process.session IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let create = |n| {
        let (store, key) = (store.clone(), SessionKey::from_bytes([n; 32]));
        tokio::spawn(async move { apply(&store, change(key, Op::Create(Box::default()))).await })
    };
    // One for each of the two writers, who are at it: that is not what waits.
    let mut calls = vec![create(0), create(1)];
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'session_process.session'::regclass";
    while lock.query_one(blocked, &[]).await.unwrap().get::<_, i64>(0) < 2 {}
    assert_eq!(store.health().await.waiting, Waiting::default());
    calls.extend((2..52).map(create));
    let waiting = until(&store, |health| health.waiting.writes >= 50).await.waiting;
    assert_eq!((waiting.writes, waiting.reads, waiting.locks), (50, 0, 0));
    assert!(waiting.write_bytes >= 50 * 256, "{waiting:?}");
    lock.rollback().await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(store.health().await.waiting, Waiting::default());
}

/// Reads that hang, and more of them behind: a health check waits for its own time and no longer; and where nothing more
/// is taken up, it says so and not that the database is away.
#[tokio::test(flavor = "multi_thread")]
async fn health_answers_in_time_and_a_full_queue_is_no_database_that_is_away() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (timeout, one) = (Duration::from_secs(1), NonZeroUsize::MIN);
    let open = async |timeout| {
        let builder = Builder::from_config(database.config()).timeout(timeout).readers(one);
        builder.coherence(Coherence::Off).open().await.unwrap()
    };
    let (impatient, patient) = (open(timeout).await, open(Duration::from_secs(60)).await);
    for store in [&impatient, &patient] {
        assert!(store.health().await.round_trip.is_some());
    }
    let mut admin = database.connect().await;
    let lock = admin.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE session_process.session IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let load = |store: &PostgresStore, keys: usize| {
        let store = store.clone();
        tokio::spawn(async move { store.load(&vec![SessionKey::from_bytes([1; 32]); keys]).await })
    };
    let blocked = async |count| {
        let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'session_process.session'::regclass";
        while lock.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) < count {}
    };
    let hangs = load(&impatient, 1);
    blocked(1).await;
    let begun = Instant::now();
    let health = impatient.health().await;
    assert!(begun.elapsed() < timeout * 3 / 2, "{:?}", begun.elapsed());
    assert!(!health.is_ready() && health.round_trip.is_none());
    assert_eq!(health.last_error.unwrap().kind, "timeout");
    assert!(hangs.await.unwrap().is_err());

    let hangs = load(&patient, 1);
    blocked(1).await;
    // Polled at once, so it is in the queue.
    let (store, keys) = (patient.clone(), vec![SessionKey::from_bytes([1; 32]); 100_000]);
    let mut rest = pin!(store.load(&keys));
    assert!(poll_once(rest.as_mut()).await.is_none());
    let health = patient.health().await;
    assert_eq!((health.database, health.round_trip), (Reachability::Connected, None));
    assert_eq!(health.last_error.as_ref().unwrap().kind, "overloaded");
    assert!(health.is_ready());
    lock.rollback().await.unwrap();
    hangs.await.unwrap().unwrap();
    rest.await.unwrap();
}

async fn poll_once<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    let mut future = Some(future);
    poll_fn(|task| {
        let future = future.take().expect("polled once");
        Poll::Ready(match future.poll(task) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_polls_or_has_no_cache_says_so() {
    let server = Server::shared().await;
    let database = server.database().await;
    let builder = || Builder::from_config(database.config()).timeout(TIMEOUT);
    let interval = Duration::from_millis(200);
    let polls = builder().coherence(Coherence::Poll { interval }).open().await.unwrap();
    assert_eq!(
        until(&polls, |health| health.cache.is_trusted()).await.cache,
        CacheTrust::Polling
    );
    let none = builder().coherence(Coherence::Off).open().await.unwrap();
    assert_eq!(none.health().await.cache, CacheTrust::Off);
}
