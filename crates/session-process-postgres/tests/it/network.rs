//! The network between a node and the database: it loses, holds back, cuts and delays what is sent.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use session_process::{
    SessionId,
    records::NewSession,
    store::{SessionStore, StoreError},
};
use session_process_postgres::Builder;
use testkit::{
    Progress, long_or,
    postgres::{Database, Proxy, Server, Way},
};

use crate::support::records;
use crate::traffic::{TIMEOUT, Traffic, node};

/// Of each of two nodes.
async fn two(database: &Database) -> (Traffic, [Proxy; 2]) {
    let proxies = [
        Proxy::before(&database.config()).await,
        Proxy::before(&database.config()).await,
    ];
    let mut stores = Vec::new();
    for proxy in &proxies {
        stores.push(node(proxy.config(&database.config())).await);
    }
    (Traffic::begin(&stores).await, proxies)
}

/// A half-open socket: no error, and no answer ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_swallows_what_is_sent_serves_nothing_old() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (traffic, [_one, proxy]) = two(&database).await;
    for both in [true, false] {
        traffic.flows([0, 1]).await;
        if both {
            proxy.swallow();
        } else {
            proxy.lose(Way::ToServer);
        }
        // The other one goes on and writes.
        traffic.goes_on_for(TIMEOUT).await;
        traffic.flows([0]).await;
        proxy.heal();
    }
    traffic.end().await;
}

/// Answers are lost, so what was committed is not acknowledged: it is there, once.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_and_never_acknowledged_takes_effect_once() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (traffic, [one, two]) = two(&database).await;
    for _ in 0..2 {
        traffic.flows([0, 1]).await;
        one.lose(Way::ToNode);
        two.lose(Way::ToNode);
        traffic.goes_on_for(TIMEOUT / 2).await;
        one.heal();
        two.heal();
    }
    traffic.end().await;
}

/// Long after a write was given up, and its session was read again, it takes effect all the same: that is news to the
/// node that sent it as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_late_is_heard_of_also_by_the_node_that_sent_it() {
    let server = Server::shared().await;
    let database = server.database().await;
    let proxy = Proxy::before(&database.config()).await;
    let store = node(proxy.config(&database.config())).await;
    let records = records(&store);
    let id = records.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    let is_there = async || records.get(&id).await.ok().map(|found| found.is_some());
    assert_eq!(is_there().await, Some(true));
    proxy.hold_present();
    assert!(records.delete(&id).await.is_err(), "it is on its way");
    // On new connections, and from the cache.
    while !store.health().await.cache.is_trusted() || is_there().await.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((is_there().await, records.stats().cache_in_use), (Some(true), true));
    proxy.heal();
    // Not by the records, which would learn of it by that.
    let admin = database.connect().await;
    let rows = async || {
        admin
            .query("SELECT 1 FROM session_process.session", &[])
            .await
            .unwrap()
            .len()
    };
    while rows().await > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    while is_there().await != Some(false) {
        assert!(
            begun.elapsed() < TIMEOUT,
            "it took effect, and the cache goes on with the old value"
        );
    }
}

/// The connection that writes gets no answers any more, and the one that listens is as it was: what was committed is news to
/// the node that sent it, long before it gives the write up.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_heard_of_like_one_of_another_node() {
    let server = Server::shared().await;
    let database = server.database().await;
    let proxy = Proxy::before(&database.config()).await;
    let store = Builder::from_config(proxy.config(&database.config()))
        .writers(NonZeroUsize::MIN)
        .readers(NonZeroUsize::MIN)
        .open()
        .await
        .unwrap();
    let (one, two) = (records(&store), records(&store));
    // So that the connection that writes is the newest.
    let nobody = SessionId::generate();
    assert!(one.get_fresh(&nobody).await.unwrap().is_none());
    let id = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    let read = async || two.get(&id).await.unwrap().unwrap().get::<u32>("n").unwrap();
    assert_eq!(read().await, Some(1));
    proxy.lose_on_newest(Way::ToNode);
    let unanswered = tokio::spawn({
        let (one, id) = (one.clone(), id.clone());
        async move { one.update(&id, |attributes| attributes.insert("n", 2)).await }
    });
    // Not by way of the store, which would learn of it by that.
    let admin = database.connect().await;
    let written = "SELECT 1 FROM session_process.session WHERE attributes LIKE '%2%' AND version & 65535 > 0";
    while admin.query(written, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (begun, bound) = (Instant::now(), store.staleness_bound().unwrap());
    while read().await != Some(2) {
        assert!(
            begun.elapsed() < bound,
            "it was committed, and the cache goes on with the old value"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        two.stats().cache_in_use && !unanswered.is_finished(),
        "it was told of the change"
    );
    assert!(unanswered.await.unwrap().is_err());
    assert_eq!(read().await, Some(2));
}

/// For longer than the store waits for the database: nothing waits for good.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(5 * TIMEOUT, work).await;
    done.expect("it waits for good")
}

#[tokio::test(flavor = "multi_thread")]
async fn to_clear_all_caches_waits_no_longer_than_for_anything_else() {
    let server = Server::shared().await;
    let database = server.database().await;
    let proxy = Proxy::before(&database.config()).await;
    let store = node(proxy.config(&database.config())).await;
    store.clear_caches().await.unwrap();
    proxy.lose(Way::ToServer);
    let (one, two) = in_time(async { tokio::join!(store.clear_caches(), store.delete_expired(1)) }).await;
    assert!(matches!(one, Err(StoreError::Timeout { .. })), "{one:?}");
    assert!(two.is_err(), "{two:?}");
    proxy.heal();
    in_time(async {
        // It connects anew.
        while store.clear_caches().await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    proxy.lose(Way::ToServer);
    let clears = tokio::spawn({
        let store = store.clone();
        async move { store.clear_caches().await }
    });
    in_time(store.shutdown()).await;
    assert!(clears.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_holds_back_old_connections_and_not_new_ones_loses_nothing() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (traffic, [proxy, _two]) = two(&database).await;
    traffic.flows([0, 1]).await;
    proxy.hold_present();
    traffic.goes_on_for(TIMEOUT).await;
    // On new connections.
    traffic.flows([0, 1]).await;
    proxy.heal();
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_away_for_a_while_and_delivers_late_loses_nothing() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (traffic, [proxy, _two]) = two(&database).await;
    traffic.flows([0, 1]).await;
    proxy.hold();
    traffic.goes_on_for(2 * TIMEOUT).await;
    proxy.heal();
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_and_refused_are_made_again() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (traffic, [one, two]) = two(&database).await;
    let times = long_or(3, 60);
    let progress = Progress::new("cuts of the network", times);
    for _ in 0..times {
        progress.step();
        traffic.flows([0, 1]).await;
        one.cut();
        two.refuse();
        two.cut();
        traffic.flows([0]).await;
        two.heal();
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_far_away_is_slow_and_nothing_else() {
    let server = Server::shared().await;
    let database = server.database().await;
    let (traffic, proxies) = two(&database).await;
    for proxy in &proxies {
        proxy.delay(Duration::from_millis(8));
    }
    traffic.flows([0, 1]).await;
    traffic.end().await;
}
