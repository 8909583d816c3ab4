//! Behind a real pooler in transaction mode: PgBouncer, of which any version will do.
//!
//! Its connections to the database change hands with every transaction, and there are fewer of them than the store has.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, Instant},
};

use session_process::{
    Context, Durability, EndReason, Process, Schema, SessionId, Sessions,
    locks::Locks,
    records::{NewSession, SessionRecords, UpdateError},
    store::{Acquired, Holder, LockName, LockStore, SessionStore, StoreError},
};
use session_process_postgres::{Builder, CacheTrust, Coherence, OpenError, PostgresStore};
use testkit::{
    conformance::StoreUnderTest,
    locks::LocksUnderTest,
    postgres::{Database, Disk, Pooler, Server},
};

use crate::{
    support::{Fresh, kill, records},
    traffic::{TIMEOUT, Traffic},
};

const INTERVAL: Duration = Duration::from_millis(200);

/// A store behind a pooler of its own, in a database of its own.
struct Pooled {
    fresh: Fresh,
    _pooler: Pooler,
}

impl StoreUnderTest for Pooled {
    fn store(&self) -> Arc<dyn SessionStore> {
        self.fresh.store()
    }

    fn advance(&self, by: Duration) {
        self.fresh.advance(by);
    }
}

impl LocksUnderTest for Pooled {
    fn locks(&self) -> Arc<dyn LockStore> {
        self.fresh.locks()
    }
}

async fn pooled() -> Pooled {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let clock = Arc::new(AtomicI64::new(0));
    let store = Builder::from_config(pooler.config(&database.config()))
        .behind_pooler(true)
        .clock_offset(Arc::clone(&clock))
        .open()
        .await
        .expect("an empty database");
    Pooled {
        fresh: Fresh::new(store, clock, database, server),
        _pooler: pooler,
    }
}

mod conforms {
    testkit::store_conformance!(super::super::pooled);
    testkit::lock_conformance!(super::super::pooled);
}

fn behind(pooler: &Pooler, database: &Database) -> Builder {
    Builder::from_config(pooler.config(&database.config()))
        .behind_pooler(true)
        .timeout(TIMEOUT)
}

async fn polls(pooler: &Pooler, database: &Database) -> PostgresStore {
    let builder = behind(pooler, database).coherence(Coherence::Poll { interval: INTERVAL });
    builder.open().await.expect("the pooler is there")
}

async fn client(pooler: &Pooler, database: &Database) -> tokio_postgres::Client {
    let config = pooler.config(&database.config());
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Has the pooler make all the connections that it may: it makes another one for whoever waits.
async fn all_connections(pooler: &Pooler, database: &Database) {
    let mut open = Vec::new();
    for _ in 0..Pooler::CONNECTIONS {
        let client = client(pooler, database).await;
        client.batch_execute("BEGIN").await.unwrap();
        open.push(client);
    }
    for client in open {
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_serve_nothing_older_than_the_bound_while_their_connections_change_hands() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let (one, two) = (polls(&pooler, &database).await, polls(&pooler, &database).await);
    assert_eq!(one.staleness_bound(), Some(INTERVAL));
    let traffic = Traffic::begin(&[one, two]).await;
    traffic.flows([0, 1]).await;
    all_connections(&pooler, &database).await;
    traffic.flows([0, 1]).await;
    let (client, mut pids) = (client(&pooler, &database).await, HashSet::new());
    while pids.len() < Pooler::CONNECTIONS {
        let row = client.query_typed_one("SELECT pg_backend_pid()", &[]).await.unwrap();
        pids.insert(row.get::<_, i32>(0));
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_ends_under_a_pooler_comes_back_and_nothing_is_lost() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let traffic = Traffic::begin(&[polls(&pooler, &database).await, polls(&pooler, &database).await]).await;
    let admin = database.connect().await;
    for _ in 0..3 {
        traffic.flows([0, 1]).await;
        assert!(kill(&admin, "true").await > 0);
    }
    traffic.end().await;
}

/// The pooler takes connections all the same, and lets whoever asks wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_behind_a_pooler_is_an_error_in_time_and_nothing_is_lost() {
    let server = Server::private(Disk::Durable).await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let traffic = Traffic::begin(&[polls(&pooler, &database).await, polls(&pooler, &database).await]).await;
    let other = polls(&pooler, &database).await;
    let records = records(&other);
    let id = records.create(NewSession::new()).await.unwrap().id;
    traffic.flows([0, 1]).await;
    tokio::task::block_in_place(|| server.stop());
    let begun = Instant::now();
    let refused = records.get_fresh(&id).await;
    assert!(refused.is_err_and(|error| error.is_transient()), "never \"no session\"");
    assert!(begun.elapsed() < TIMEOUT * 3);
    while other.health().await.cache != CacheTrust::Suspect {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!other.health().await.is_ready());
    tokio::task::block_in_place(|| server.start());
    traffic.flows([0, 1]).await;
    while !records.get(&id).await.is_ok_and(|found| found.is_some()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while other.health().await.cache != CacheTrust::Polling {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    traffic.end().await;
}

/// No names of statements, no settings, no locks, nobody who listens: on none of the connections that others get.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_on_a_connection_that_is_somebody_elses_next() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let store = polls(&pooler, &database).await;
    let records = SessionRecords::builder(store.clone()).build().unwrap();
    let locks = Locks::new(store);
    let everything = async |records: SessionRecords, locks: Locks| {
        let id = records
            .create(NewSession::for_user("ada").attribute("n", 0))
            .await
            .unwrap()
            .id;
        let lock = locks.lock(LockName::of_session(&id, "x")).await.unwrap();
        let update = records.update_under(&id, lock.fence(), |attributes| attributes.insert("n", 1));
        update.await.unwrap();
        let id = records.rotate(&id).await.unwrap();
        records
            .update(&id, |attributes| attributes.insert("n", 2))
            .await
            .unwrap();
        lock.release().await.unwrap();
        records.delete(&id).await.unwrap();
        records.clean_up().await.unwrap();
    };
    all_connections(&pooler, &database).await;
    let tasks: Vec<_> = (0..20)
        .map(|_| tokio::spawn(everything(records.clone(), locks.clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let client = client(&pooler, &database).await;
    let left = "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_prepared_statements), \
                (SELECT count(*) FROM pg_listening_channels()), \
                (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
                (SELECT string_agg(name, ', ') FROM pg_settings WHERE source = 'session' AND name NOT IN \
                 ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings'))";
    let mut seen = HashSet::new();
    while seen.len() < Pooler::CONNECTIONS {
        let row = client.query_typed_one(left, &[]).await.unwrap();
        let counts: [i64; 3] = [row.get(1), row.get(2), row.get(3)];
        assert_eq!((counts, row.get::<_, Option<String>>(4)), ([0; 3], None));
        seen.insert(row.get::<_, i32>(0));
    }
}

/// The settings of the store go with its transactions: it does not wait for a lock of somebody else's for as long as for
/// a database that is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_locks_holds_up_nobody_else_behind_a_pooler() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let store = behind(&pooler, &database)
        .timeout(Duration::from_secs(30))
        .lock_timeout(Duration::from_millis(100))
        .open()
        .await
        .unwrap();
    let records = records(&store);
    let locked = records.create(NewSession::new()).await.unwrap().id;
    let mut admin = database.connect().await;
    let transaction = admin.transaction().await.unwrap();
    transaction
        .execute("SELECT FROM session_process.session FOR UPDATE", &[])
        .await
        .unwrap();
    let begun = Instant::now();
    let update = |id| {
        let records = records.clone();
        async move { records.update(&id, |attributes| attributes.insert("n", 1)).await }
    };
    let refused = tokio::spawn(update(locked.clone()));
    let free = records.create(NewSession::new()).await.unwrap().id;
    update(free).await.unwrap();
    assert!(matches!(refused.await.unwrap(), Err(UpdateError::Store(_))));
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited for the database");
    transaction.rollback().await.unwrap();
    update(locked).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_it_polls_unless_it_may_listen_past_it() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let polls = behind(&pooler, &database).open().await.unwrap();
    assert_eq!(polls.staleness_bound(), Some(Duration::from_secs(1)));
    let refused = behind(&pooler, &database).coherence(Coherence::default()).open().await;
    assert!(matches!(refused, Err(OpenError::CannotListen)), "{refused:?}");
    let past = || behind(&pooler, &database).listen_with(database.config());
    let (one, two) = (past().open().await.unwrap(), past().open().await.unwrap());
    assert_eq!(one.staleness_bound(), Some(Duration::from_secs(2)));
    let traffic = Traffic::begin(&[one, two]).await;
    traffic.flows([0, 1]).await;
    assert_eq!(kill(&database.connect().await, "query ~ '^LISTEN'").await, 2);
    traffic.flows([0, 1]).await;
    traffic.end().await;
}

/// A listener at another database hears itself and nothing else. That is not taken for hearing.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_at_another_database_is_noticed() {
    let server = Server::shared().await;
    let (database, other) = (server.database().await, server.database().await);
    let pooler = Pooler::before(&database.config()).await;
    let store = behind(&pooler, &database)
        .listen_with(other.config())
        .coherence(Coherence::Listen {
            interval: Duration::from_millis(50),
            patience: Duration::from_millis(200),
        })
        .open()
        .await
        .unwrap();
    let records = records(&store);
    let id = records.create(NewSession::new()).await.unwrap().id;
    assert!(records.get(&id).await.unwrap().is_some());
    assert!(!store.health().await.cache.is_trusted() && !records.stats().cache_in_use);
}

/// Locks take the store's settings with them as well: they neither wait for somebody else's transaction as long as for the
/// database, nor fail by an isolation that was set for the role or the database.
#[tokio::test(flavor = "multi_thread")]
async fn locks_behind_a_pooler_have_the_settings_of_the_store() {
    let server = Server::shared().await;
    let database = server.database().await;
    let mut admin = database.connect().await;
    let isolation = "ALTER DATABASE \"{}\" SET default_transaction_isolation = 'repeatable read'";
    admin
        .batch_execute(&isolation.replace("{}", database.name()))
        .await
        .unwrap();
    let pooler = Pooler::before(&database.config()).await;
    let open = async |lock_timeout| {
        let builder = behind(&pooler, &database).timeout(Duration::from_secs(30));
        builder.lock_timeout(lock_timeout).open().await.unwrap()
    };
    let impatient = open(Duration::from_millis(100)).await;
    let patient = open(Duration::from_secs(30)).await;
    let (name, lease) = (LockName::new("a"), Duration::from_secs(60));
    let (holder, other) = (Holder::random().unwrap(), Holder::random().unwrap());
    assert!(matches!(
        impatient.acquire(&name, holder, lease).await.unwrap(),
        Acquired::Held(_)
    ));
    let transaction = admin.transaction().await.unwrap();
    transaction
        .execute("UPDATE session_process.lock SET awaited = awaited", &[])
        .await
        .unwrap();
    let begun = Instant::now();
    let (renewed, acquired, released) = tokio::join!(
        impatient.renew(name.key(), holder, lease),
        impatient.acquire(&name, other, lease),
        impatient.release(name.key(), holder),
    );
    let late = |error: Option<StoreError>| assert!(matches!(error, Some(StoreError::Timeout { .. })), "{error:?}");
    late(renewed.err());
    late(acquired.err());
    late(released.err());
    assert!(begun.elapsed() < Duration::from_secs(10), "it waited for the database");

    // What was changed while it waited is what it goes on with.
    let (store, key) = (patient.clone(), name.key());
    let renews = tokio::spawn(async move { store.renew(key, holder, lease).await });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    while transaction.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
    transaction.commit().await.unwrap();
    assert!(renews.await.unwrap().unwrap());
    assert!(patient.release(name.key(), holder).await.unwrap());
}

/// Tasks that share the connection don't get into each other's transactions.
#[tokio::test(flavor = "multi_thread")]
async fn many_locks_at_once_behind_a_pooler_are_each_a_transaction_of_its_own() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let store = behind(&pooler, &database)
        .timeout(Duration::from_secs(30))
        .open()
        .await
        .unwrap();
    let lease = Duration::from_secs(60);
    let tasks: Vec<_> = (0..400)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let (name, holder) = (LockName::new(&format!("{n}")), Holder::random().unwrap());
                let acquired = store.acquire(&name, holder, lease).await.unwrap();
                assert!(matches!(acquired, Acquired::Held(_)));
                assert!(store.renew(name.key(), holder, lease).await.unwrap());
                assert!(store.release(name.key(), holder).await.unwrap());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Counts its ends by a hook.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Visit;

#[derive(Clone, Default)]
struct Hooks(Arc<std::sync::Mutex<Vec<EndReason>>>);

impl Process for Visit {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("visit", 1));

    async fn terminate(&mut self, reason: EndReason, cx: &mut Context<Self>) {
        if let Some(hooks) = cx.extension::<Hooks>() {
            hooks.0.lock().unwrap().push(reason);
        }
    }
}

/// Nobody tells a node that polls what has happened: it has to find out.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_ends_here_when_its_session_ends_elsewhere_and_sleeps_when_that_has_another_id() {
    let server = Server::shared().await;
    let database = server.database().await;
    let pooler = Pooler::before(&database.config()).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let store = polls(&pooler, &database).await;
        let records = records(&store);
        let hooks = Hooks::default();
        let sessions = Sessions::<Visit>::builder().records(records).extension(hooks.clone());
        nodes.push((sessions.build().unwrap(), hooks));
    }
    let [(one, _), (two, hooks)] = nodes.as_slice() else {
        unreachable!()
    };
    let (ends, moves) = (SessionId::generate(), SessionId::generate());
    for id in [&ends, &moves] {
        one.start(id).await.unwrap();
        two.start(id).await.unwrap();
    }
    let (mut end, mut sleep) = (two.monitor(&ends).unwrap(), two.monitor(&moves).unwrap());
    one.rotate(&moves).await.unwrap();
    one.terminate(&ends).await.unwrap();
    assert_eq!(end.ended().await, EndReason::Terminated);
    assert_eq!(sleep.ended().await, EndReason::Asleep);
    assert_eq!(*hooks.0.lock().unwrap(), [EndReason::Terminated]);
}
