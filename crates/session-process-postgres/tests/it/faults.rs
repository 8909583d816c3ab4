//! Connections are killed, the server goes away, comes back, hangs; each time with two nodes that write and read.

use std::time::{Duration, Instant};

use session_process::{
    records::{NewSession, SessionRecords},
    store::{SessionKey, SessionStore},
};
use testkit::{
    Progress, long_or,
    postgres::{Database, Disk, Server},
};

use crate::support::kill;
use crate::traffic::{TIMEOUT, Traffic, node};

async fn two(database: &Database) -> Traffic {
    Traffic::begin(&[node(database.config()).await, node(database.config()).await]).await
}

/// gopgsession: "listener away 5 s, an update meanwhile": the old value is served for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_killed_serves_nothing_old() {
    let server = Server::shared().await;
    let database = server.database().await;
    let traffic = two(&database).await;
    let admin = database.connect().await;
    let times = long_or(8, 60);
    let progress = Progress::new("kills of the listeners", times);
    for _ in 0..times {
        progress.step();
        traffic.flows([0, 1]).await;
        // One or both: the one that was killed before may not be back yet.
        while kill(&admin, "query ~ '^LISTEN|pg_notify\\(\\$1, \\$2\\)'").await == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_can_be_killed_again_and_again() {
    let server = Server::shared().await;
    let database = server.database().await;
    let traffic = two(&database).await;
    let admin = database.connect().await;
    let times = long_or(5, 60);
    let progress = Progress::new("kills of all connections", times);
    for _ in 0..times {
        progress.step();
        traffic.flows([0, 1]).await;
        assert!(kill(&admin, "true").await >= 2);
    }
    traffic.end().await;
}

/// tower-sessions: "database down: requests hang 30 s".
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_comes_back_has_all_that_was_acknowledged() {
    let server = Server::private(Disk::Durable).await;
    let database = server.database().await;
    let traffic = two(&database).await;
    let other = node(database.config()).await;
    let times = long_or(2, 20);
    let progress = Progress::new("ends of the server", times);
    for time in 0..times {
        progress.step();
        let crash = time % 2 == 0;
        traffic.flows([0, 1]).await;
        tokio::task::block_in_place(|| if crash { server.crash() } else { server.stop() });
        let begun = Instant::now();
        let refused = other.load(&[SessionKey::from_bytes([9; 32])]).await;
        assert!(refused.is_err_and(|error| error.is_transient()), "never \"no session\"");
        assert!(begun.elapsed() < TIMEOUT * 3, "and at once");
        assert!(!other.health().await.is_ready());
        tokio::task::block_in_place(|| server.start());
    }
    traffic.flows([0, 1]).await;
    while !other.health().await.cache.is_trusted() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    traffic.end().await;
}

/// What was sent to a server that hangs takes effect when it goes on, long after it was given up: that is heard of too.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_an_error_in_time_and_caches_are_not_used_meanwhile() {
    let server = Server::private(Disk::Careless).await;
    let database = server.database().await;
    let traffic = two(&database).await;
    let other = node(database.config()).await;
    let records = SessionRecords::builder(other.clone()).build().unwrap();
    let id = records.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    assert!(records.get(&id).await.unwrap().is_some(), "cached");
    traffic.flows([0, 1]).await;
    server.freeze();
    let begun = Instant::now();
    while other.health().await.cache.is_trusted() {}
    assert!(begun.elapsed() < TIMEOUT * 5);
    let refused = records.get(&id).await;
    assert!(refused.is_err_and(|error| error.is_transient()), "the cache isn't used");
    server.thaw();
    while !records.get(&id).await.is_ok_and(|found| found.is_some()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    traffic.end().await;
}
