//! A node whose clock is an hour off the database's: nothing expires early or late.
//!
//! Clocks of a machine can't be turned by a test. So it is the database's that is turned: `clock_timestamp` is found in a
//! schema of the test's own before the system's. To a node that is the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use session_process::{
    Timestamp,
    locks::Locks,
    records::{NewSession, SessionRecords},
    store::SessionStore,
};
use session_process_postgres::{Builder, PostgresStore};
use testkit::postgres::{Database, Server};

use crate::support::records_with;

const HOUR: i64 = 3600;
const IDLE: Duration = Duration::from_secs(60);

/// A database whose clock is off, and by how much in its table `turned.by`.
async fn turned(database: &Database, seconds: i64) -> tokio_postgres::Client {
    let client = database.connect().await;
    let sql = format!(
        "CREATE SCHEMA turned; CREATE TABLE turned.by (seconds bigint); INSERT INTO turned.by VALUES ({seconds}); \
         CREATE FUNCTION turned.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
         'SELECT pg_catalog.clock_timestamp() + (SELECT seconds FROM turned.by) * interval ''1 second'''; \
         ALTER DATABASE {} SET search_path = turned, pg_catalog",
        database.name()
    );
    client.batch_execute(&sql).await.unwrap();
    client
}

/// By the clock of this machine.
fn here_micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("not that late")
}

/// As far as two clocks can be compared that are read one after the other.
fn close(one: Timestamp, other: Timestamp) -> bool {
    let apart = one.saturating_since(other).max(other.saturating_since(one));
    apart < Duration::from_secs(5)
}

async fn node(database: &Database) -> (PostgresStore, SessionRecords) {
    let store = Builder::from_config(database.config()).open().await.unwrap();
    let records = records_with(&store).idle_timeout(IDLE).max_lifetime(IDLE * 10);
    (store, records.build().unwrap())
}

/// gopgsession: "a clock 61 s ahead steals at once", and expiry by the node's clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_an_hour_off_expires_nothing_early_or_late() {
    let server = Server::shared().await;
    for off in [HOUR, -HOUR] {
        let database = server.database().await;
        let client = turned(&database, off).await;
        let ((here, one), (there, two)) = (node(&database).await, node(&database).await);
        let turned = here_micros() + off * 1_000_000;
        for store in [&here, &there] {
            assert!(
                close(store.now(), Timestamp::from_micros(turned)),
                "time is the database's"
            );
        }
        let id = one.create(NewSession::for_user("ada")).await.unwrap().id;
        for node in [&one, &two] {
            assert!(node.get(&id).await.unwrap().is_some(), "not early");
            assert_eq!(node.clean_up().await.unwrap(), 0);
        }
        assert!(two.get_fresh(&id).await.unwrap().is_some());
        let (ours, theirs) = (Locks::new(here.clone()), Locks::new(there.clone()));
        let lock = ours.lock("a").await.unwrap();
        assert!(
            lock.is_held() && theirs.try_lock("a").await.unwrap().is_none(),
            "locks are exclusive"
        );
        assert!(lock.release().await.unwrap());
        assert!(theirs.try_lock("a").await.unwrap().is_some(), "and free");

        // A minute later by the database, and to the nodes' own clocks no time at all.
        client
            .execute("UPDATE turned.by SET seconds = seconds + 61", &[])
            .await
            .unwrap();
        let later = Timestamp::from_micros(turned + 61_000_000);
        for store in [&here, &there] {
            while !close(store.now(), later) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        for node in [&one, &two] {
            assert!(
                node.get(&id).await.unwrap().is_none(),
                "not late, from the cache either"
            );
        }
        assert_eq!(two.clean_up().await.unwrap(), 1);
    }
}
