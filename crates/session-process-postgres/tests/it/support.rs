//! What the tests share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use session_process::{
    records::{RecordsBuilder, SessionRecords},
    store::{Change, Expect, LockStore, Op, Outcome, SessionKey, SessionStore},
};
use session_process_postgres::{Builder, PostgresStore};
use testkit::{
    conformance::StoreUnderTest,
    locks::LocksUnderTest,
    postgres::{Database, Server},
};
use tokio_postgres::Client;

/// A store in a database of its own, which goes with it.
pub(crate) struct Fresh {
    pub(crate) store: PostgresStore,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) database: Database,
    _server: Server,
}

impl StoreUnderTest for Fresh {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::new(self.store.clone())
    }

    fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a test's time");
        self.clock.fetch_add(by, Ordering::AcqRel);
    }
}

impl LocksUnderTest for Fresh {
    fn locks(&self) -> Arc<dyn LockStore> {
        Arc::new(self.store.clone())
    }
}

impl Fresh {
    pub(crate) fn new(store: PostgresStore, clock: Arc<AtomicI64>, database: Database, server: Server) -> Self {
        Self {
            store,
            clock,
            database,
            _server: server,
        }
    }

    /// Another node at the same database.
    pub(crate) async fn node(&self) -> PostgresStore {
        Builder::from_config(self.database.config())
            .clock_offset(Arc::clone(&self.clock))
            .open()
            .await
            .expect("the schema is there")
    }
}

pub(crate) async fn fresh() -> Fresh {
    fresh_on(Server::shared().await).await
}

pub(crate) async fn fresh_on(server: Server) -> Fresh {
    let database = server.database().await;
    let clock = Arc::new(AtomicI64::new(0));
    let store = Builder::from_config(database.config())
        .clock_offset(Arc::clone(&clock))
        .open()
        .await
        .expect("an empty database");
    Fresh::new(store, clock, database, server)
}

pub(crate) fn change(key: SessionKey, op: Op) -> Change {
    Change {
        key,
        expect: Expect::default(),
        op,
    }
}

pub(crate) async fn apply(store: &PostgresStore, change: Change) -> Outcome {
    store.commit(vec![change]).await.expect("the store works").remove(0)
}

/// Records that remove nothing unless they are told to.
pub(crate) fn records(store: &PostgresStore) -> SessionRecords {
    records_with(store).build().expect("good settings")
}

/// The same, with more to be set.
pub(crate) fn records_with(store: &PostgresStore) -> RecordsBuilder {
    SessionRecords::builder(store.clone()).cleanup_interval(None)
}

/// Ends the other connections to this database for which that holds, in SQL; `true`: all. How many it were, when they are gone.
pub(crate) async fn kill(admin: &Client, which: &str) -> u64 {
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> \
         pg_backend_pid() AND {which}"
    );
    admin.execute(&sql, &[]).await.unwrap()
}

/// What the database does to a row of the table, until it is dropped again: PL/pgSQL.
pub(crate) async fn obstruct(client: &Client, body: &str) {
    let sql = format!(
        "CREATE FUNCTION public.obstacle() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN {body} \
         IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $body$; \
         CREATE TRIGGER obstacle BEFORE INSERT OR UPDATE OR DELETE ON session_process.session \
         FOR EACH ROW EXECUTE FUNCTION public.obstacle()"
    );
    client.batch_execute(&sql).await.unwrap();
}

pub(crate) async fn clear_the_way(client: &Client) {
    let sql = "DROP TRIGGER obstacle ON session_process.session; DROP FUNCTION public.obstacle()";
    client.batch_execute(sql).await.unwrap();
}
