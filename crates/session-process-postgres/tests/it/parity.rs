//! gopgsession, row by row: what needs PostgreSQL. Numbers as in the parity table; the other rows are in
//! `parity_records` of `session-process`, and faults beside these.

use std::time::Duration;

use session_process::{
    locks::Locks,
    records::NewSession,
    store::{LockName, Notice, SessionStore},
};
use session_process_postgres::{Builder, OpenError, PostgresStore};
use testkit::conformance::StoreUnderTest;

use crate::support::{fresh, kill, records, records_with};

#[tokio::test(flavor = "multi_thread")]
async fn g6_what_one_node_writes_the_cache_of_another_serves() {
    let fresh = fresh().await;
    let (one, two) = (records(&fresh.store), records(&fresh.node().await));
    let id = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    assert!(two.get(&id).await.unwrap().is_some());
    assert!(two.stats().cache_in_use);
    one.update(&id, |attributes| attributes.insert("n", 2)).await.unwrap();
    while two.get(&id).await.unwrap().unwrap().get::<u64>("n").unwrap() != Some(2) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g7_a_node_that_was_cut_off_hears_again_by_itself() {
    let fresh = fresh().await;
    let mut changes = fresh.store.changes();
    kill(&fresh.database.connect().await, "true").await;
    for told in [Notice::Deaf, Notice::Hearing] {
        while changes.next().await.expect("it is open") != told {}
    }
    assert!(fresh.store.health().await.cache.is_trusted());
}

#[tokio::test(flavor = "multi_thread")]
async fn g9_g10_accesses_go_out_in_batches_and_one_node_cleans_up() {
    let fresh = fresh().await;
    // Long enough that no access is in a hurry.
    let idle = Duration::from_secs(48 * 3600);
    let of = |store: &PostgresStore| records_with(store).idle_timeout(idle).build().unwrap();
    let (one, two) = (of(&fresh.store), of(&fresh.node().await));
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(one.create(NewSession::new()).await.unwrap().id);
    }
    fresh.advance(idle / 2);
    for id in &ids[..5] {
        assert!(two.get(id).await.unwrap().is_some());
    }
    assert_eq!(two.flush_accesses().await.unwrap(), 5);
    fresh.advance(idle / 2);
    assert_eq!(one.clean_up().await.unwrap(), 5);
    assert_eq!(two.clean_up().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g12_prefix_and_schema_are_the_users_and_made_if_that_is_wanted() {
    let fresh = fresh().await;
    let at = |create| {
        Builder::from_config(fresh.database.config())
            .schema("our sessions")
            .prefix("v1_")
            .create_schema(create)
    };
    assert!(matches!(at(false).open().await, Err(OpenError::Missing { .. })));
    let store = at(true).open().await.unwrap();
    records(&store).create(NewSession::new()).await.unwrap();
    let count = "SELECT count(*) FROM \"our sessions\".\"v1_session\"";
    let row = fresh.database.connect().await.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    at(false).open().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn g14_a_lock_on_a_resource_of_a_session_with_a_token_and_all_caches_cleared_by_command() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let (one, two) = (records(&fresh.store), records(&other));
    let id = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    let locks = [&fresh.store, &other].map(|store| Locks::new(store.clone()));
    let name = LockName::of_session(&id, "checkout");
    let lock = locks[0].try_lock(name.clone()).await.unwrap().expect("it is free");
    assert!(locks[1].try_lock(name.clone()).await.unwrap().is_none());
    assert!(two.get(&id).await.unwrap().is_some());
    assert_eq!(two.stats().cached, 1);
    fresh.store.clear_caches().await.unwrap();
    while two.stats().cached > 0 {
        tokio::task::yield_now().await;
    }
    drop(lock);
}
