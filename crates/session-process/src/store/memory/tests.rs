//! What the conformance suite doesn't see: the indices. And a little of what it does.

use std::{num::NonZeroU32, time::Duration};

use super::*;
use crate::{
    SessionId,
    store::{Conflict, Create, Edit, Expect, Lifetime, Op, OwnerLimit, OwnerLimitPolicy, OwnerText},
};

const SECOND: Duration = Duration::from_secs(1);

fn store() -> (MemoryStore, ManualClock) {
    let clock = ManualClock::new();
    (MemoryStore::with_clock(clock.clone()), clock)
}

fn key() -> SessionKey {
    SessionKey::of(&SessionId::generate())
}

fn ada() -> OwnerText {
    OwnerText::new("ada").unwrap()
}

fn lives(idle: Duration) -> Lifetime {
    Lifetime {
        expires_at: None,
        idle_timeout: Some(idle),
    }
}

fn of_ada(idle: Duration, limit: Option<OwnerLimit>) -> Op {
    Op::Create(Box::new(Create {
        user_id: Some(ada()),
        group_id: Some(ada()),
        lifetime: lives(idle),
        limit,
        ..Create::default()
    }))
}

async fn commit(store: &MemoryStore, key: SessionKey, op: Op) -> Outcome {
    let expect = Expect::default();
    store
        .commit(vec![Change { key, expect, op }])
        .await
        .unwrap()
        .pop()
        .unwrap()
}

fn set(edit: impl FnOnce(&mut Edit)) -> Op {
    let mut new = Edit::default();
    edit(&mut new);
    Op::Edit(Box::new(new))
}

#[tokio::test]
async fn two_thousand_changes_leave_one_entry_in_each_index_and_a_deletion_none() {
    let (store, clock) = store();
    let key = key();
    commit(&store, key, of_ada(SECOND * 60, None)).await.unwrap();
    for _ in 0..2_000 {
        clock.advance(SECOND);
        let now = store.now();
        commit(&store, key, set(|edit| edit.accessed_at = Some(now)))
            .await
            .unwrap();
    }
    assert_eq!(store.table.lock().index_sizes(), [1, 1, 1, 1, 1, 0]);
    commit(&store, key, Op::Delete).await.unwrap();
    assert_eq!(store.table.lock().index_sizes(), [0; 6]);
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_changed_owner_and_a_changed_key_move_in_the_indices() {
    let (store, _) = store();
    let (old, new) = (key(), key());
    commit(&store, old, of_ada(SECOND, None)).await.unwrap();
    commit(&store, old, set(|edit| edit.user_id = Some(None)))
        .await
        .unwrap();
    assert_eq!(store.table.lock().index_sizes(), [0, 0, 1, 1, 1, 0]);
    commit(&store, old, Op::Rotate(new)).await.unwrap();
    assert_eq!(store.table.lock().index_sizes(), [0, 0, 1, 1, 1, 1]);
    assert_eq!(store.load(&[old]).await.unwrap(), [None]);
    let group = Owner::Group(ada());
    assert_eq!(store.list(&group, None, 10).await.unwrap()[0].key, new);
}

#[tokio::test]
async fn an_expired_record_is_absent_before_it_is_removed_and_makes_no_one_wait() {
    let (store, clock) = store();
    let key = key();
    let first = commit(&store, key, of_ada(SECOND, None)).await.unwrap().version;
    clock.advance(SECOND);
    assert_eq!(store.load(&[key]).await.unwrap(), [None]);
    assert_eq!(commit(&store, key, set(|_| {})).await, Err(Conflict::Missing));
    let second = commit(&store, key, of_ada(SECOND, None)).await.unwrap().version;
    assert!(second > first);
    assert_eq!(store.delete_expired(10).await.unwrap(), []);
    assert_eq!(store.table.lock().index_sizes(), [1, 1, 1, 1, 1, 0]);
}

#[tokio::test]
async fn room_is_made_by_the_one_whose_last_use_is_longest_ago() {
    let (store, clock) = store();
    let limit = Some(OwnerLimit {
        max: NonZeroU32::new(2).unwrap(),
        policy: OwnerLimitPolicy::EvictOldest,
    });
    let (used, unused) = (key(), key());
    commit(&store, used, of_ada(SECOND * 60, limit)).await.unwrap();
    clock.advance(SECOND);
    commit(&store, unused, of_ada(SECOND * 60, limit)).await.unwrap();
    clock.advance(SECOND);
    let touch = Touch {
        key: used,
        accessed_at: store.now(),
    };
    store.touch(vec![touch]).await.unwrap();
    let evicted = commit(&store, key(), of_ada(SECOND * 60, limit)).await.unwrap().evicted;
    assert_eq!(evicted.iter().map(|removed| removed.key).collect::<Vec<_>>(), [unused]);
}

#[tokio::test]
async fn a_slow_subscriber_is_told_that_it_lagged_and_a_closed_store_ends_the_stream() {
    let (store, _) = store();
    let mut changes = store.changes();
    let key = key();
    commit(&store, key, of_ada(SECOND, None)).await.unwrap();
    assert!(matches!(changes.next().await, Some(Notice::Changed { .. })));
    for _ in 0..=BACKLOG {
        commit(&store, key, set(|_| {})).await.unwrap();
    }
    assert_eq!(changes.next().await, Some(Notice::Lagged));
    drop(store);
    while changes.next().await.is_some() {}
}

#[test]
fn the_clock_begins_at_calendar_time() {
    let (before, store, after) = (Timestamp::system(), MemoryStore::new(), Timestamp::system());
    assert!(before <= store.now() && store.now().saturating_since(after) < SECOND * 3600);
}
