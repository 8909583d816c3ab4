//! What is told of changes. Notices are hints: a store may say [`Notice::Lagged`] in place of any of them.

use std::{collections::HashSet, num::NonZeroU32, time::Duration};

use session_process::store::{Changes, Create, Edit, Notice, Op, OwnerLimit, OwnerLimitPolicy, SessionKey, Version};

use super::{
    StoreUnderTest,
    fixture::{
        MINUTE, change, create, created, done, edit, idle, key, labelled, living, of, poll_once, refused, touch,
    },
};

/// How long a notice may take. None takes so long; a store that tells nothing is found out by it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until all of `expected` were told, or something else in place of them: notices were lost.
async fn told(changes: &mut Box<dyn Changes>, expected: impl IntoIterator<Item = Notice>) -> Vec<Notice> {
    let mut missing: Vec<Notice> = expected.into_iter().collect();
    let mut others = Vec::new();
    while !missing.is_empty() {
        let next = tokio::time::timeout(PATIENCE, changes.next()).await;
        let notice = next
            .unwrap_or_else(|_| panic!("never told: {missing:?}"))
            .expect("the store is open");
        match missing.iter().position(|expected| *expected == notice) {
            Some(index) => drop(missing.remove(index)),
            None if notice == Notice::Lagged => missing.clear(),
            None => others.push(notice),
        }
    }
    others
}

fn changed(key: SessionKey, version: Version) -> Notice {
    Notice::Changed { key, version }
}

fn removed(key: SessionKey, version: Version) -> Notice {
    Notice::Removed { key, version }
}

pub async fn every_change_is_told(under: impl StoreUnderTest) {
    let store = under.store();
    let mut changes = store.changes();
    let key = key();
    let first = done(&store, key, create(Create::default())).await.version;
    told(&mut changes, [changed(key, first)]).await;
    let second = done(&store, key, edit(labelled("x"))).await.version;
    told(&mut changes, [changed(key, second)]).await;
    let last = done(&store, key, Op::Delete).await.version;
    told(&mut changes, [removed(key, last)]).await;
}

pub async fn a_rotation_is_told_as_a_move_and_a_change(under: impl StoreUnderTest) {
    let store = under.store();
    let (from, to) = (key(), key());
    let old = done(&store, from, create(Create::default())).await.version;
    let mut changes = store.changes();
    let new = done(&store, from, Op::Rotate(to)).await.version;
    let moved = Notice::Moved {
        key: from,
        version: old,
        to,
    };
    told(&mut changes, [moved, changed(to, new)]).await;
}

pub async fn what_made_room_and_what_expired_is_told(under: impl StoreUnderTest) {
    let store = under.store();
    let (old, new, brief) = (key(), key(), key());
    let first = done(&store, old, create(of("ada"))).await.version;
    let last = done(&store, brief, create(living(idle(MINUTE)))).await.version;
    let mut changes = store.changes();
    let limit = NonZeroU32::new(1).map(|max| OwnerLimit {
        max,
        policy: OwnerLimitPolicy::EvictOldest,
    });
    let second = done(&store, new, create(Create { limit, ..of("ada") })).await.version;
    told(&mut changes, [removed(old, first), changed(new, second)]).await;
    under.advance(MINUTE);
    store.delete_expired(10).await.expect("the store works");
    told(&mut changes, [removed(brief, last)]).await;
}

pub async fn a_refused_change_and_a_touch_are_not_told(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let mut changes = store.changes();
    refused(&store, key, create(Create::default())).await;
    refused(&store, super::fixture::key(), Op::Delete).await;
    touch(&store, key, store.now().saturating_add(MINUTE)).await;
    let version = done(&store, key, edit(Edit::default())).await.version;
    assert_eq!(told(&mut changes, [changed(key, version)]).await, []);
}

pub async fn every_subscriber_is_told(under: impl StoreUnderTest) {
    let store = under.store();
    let mut all: Vec<_> = (0..5).map(|_| store.changes()).collect();
    drop(all.pop());
    let keys = super::fixture::keys(20);
    let new = keys.iter().map(|key| change(*key, create(Create::default()))).collect();
    let outcomes = store.commit(new).await.expect("the store works");
    let notices: HashSet<_> = keys
        .iter()
        .zip(outcomes)
        .map(|(key, outcome)| (*key, outcome.expect("the key is free").version))
        .collect();
    for changes in &mut all {
        told(changes, notices.iter().map(|(key, version)| changed(*key, *version))).await;
    }
}

pub async fn a_subscriber_that_gives_up_waiting_loses_nothing(under: impl StoreUnderTest) {
    let store = under.store();
    let mut changes = store.changes();
    let key = key();
    for _ in 0..3 {
        poll_once(changes.next()).await;
    }
    let version = done(&store, key, create(Create::default())).await.version;
    told(&mut changes, [changed(key, version)]).await;
}
