//! What the facts share: short words for long types.

use std::{future::Future, sync::Arc, time::Duration};

use session_process::{
    SessionId, Timestamp,
    store::{
        Attribute, AttributeMap, Change, Changed, Conflict, Create, Edit, Expect, Lifetime, Op, Outcome, Owner,
        OwnerText, Record, SessionKey, SessionStore, Snapshot, Touch, Version,
    },
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) type Store = Arc<dyn SessionStore>;

pub(super) fn key() -> SessionKey {
    SessionKey::of(&SessionId::generate())
}

pub(super) fn keys(count: usize) -> Vec<SessionKey> {
    (0..count).map(|_| key()).collect()
}

pub(super) fn owner(text: &str) -> OwnerText {
    OwnerText::new(text).expect("a good owner")
}

pub(super) fn user(text: &str) -> Owner {
    Owner::User(owner(text))
}

pub(super) fn create(new: Create) -> Op {
    Op::Create(Box::new(new))
}

pub(super) fn edit(new: Edit) -> Op {
    Op::Edit(Box::new(new))
}

pub(super) fn change(key: SessionKey, op: Op) -> Change {
    Change {
        key,
        expect: Expect::default(),
        op,
    }
}

pub(super) fn at_version(version: Version) -> Expect {
    Expect {
        version: Some(version),
        epoch: None,
    }
}

pub(super) fn of(user: &str) -> Create {
    Create {
        user_id: Some(owner(user)),
        ..Create::default()
    }
}

pub(super) fn living(lifetime: Lifetime) -> Create {
    Create {
        lifetime,
        ..Create::default()
    }
}

pub(super) fn idle(timeout: Duration) -> Lifetime {
    Lifetime {
        expires_at: None,
        idle_timeout: Some(timeout),
    }
}

pub(super) fn until(at: Timestamp) -> Lifetime {
    Lifetime {
        expires_at: Some(at),
        idle_timeout: None,
    }
}

pub(super) fn attribute(json: &str) -> Attribute {
    // A store sets the version; what comes in says nothing.
    Attribute {
        json: json.into(),
        version: Version(999),
        expires_at: None,
    }
}

pub(super) fn attributes(pairs: &[(&str, &str)]) -> AttributeMap {
    pairs
        .iter()
        .map(|(name, json)| (Arc::from(*name), attribute(json)))
        .collect()
}

pub(super) fn with_attributes(pairs: &[(&str, &str)]) -> Edit {
    Edit {
        attributes: Some(attributes(pairs)),
        ..Edit::default()
    }
}

pub(super) fn labelled(label: &str) -> Edit {
    Edit {
        label: Some(Some(owner(label))),
        ..Edit::default()
    }
}

pub(super) fn snapshot(bytes: &[u8]) -> Snapshot {
    Snapshot {
        kind: "cart".into(),
        schema: 3,
        bytes: bytes.into(),
    }
}

pub(super) fn near(a: Timestamp, b: Timestamp) -> bool {
    a.saturating_since(b) <= SECOND && b.saturating_since(a) <= SECOND
}

pub(super) async fn apply(store: &Store, change: Change) -> Outcome {
    let mut outcomes = store.commit(vec![change]).await.expect("the store works");
    assert_eq!(outcomes.len(), 1, "one outcome for each change");
    outcomes.remove(0)
}

pub(super) async fn done(store: &Store, key: SessionKey, op: Op) -> Changed {
    apply(store, change(key, op)).await.expect("no conflict")
}

pub(super) async fn refused(store: &Store, key: SessionKey, op: Op) -> Conflict {
    apply(store, change(key, op)).await.expect_err("a conflict")
}

pub(super) async fn created(store: &Store, new: Create) -> SessionKey {
    let key = key();
    done(store, key, create(new)).await;
    key
}

pub(super) async fn get(store: &Store, key: SessionKey) -> Option<Record> {
    let mut records = store.load(&[key]).await.expect("the store works");
    assert_eq!(records.len(), 1, "one answer for each key");
    records.remove(0)
}

pub(super) async fn there(store: &Store, key: SessionKey) -> Record {
    let record = get(store, key).await.expect("the record is there");
    assert_eq!(record.key, key);
    record
}

pub(super) async fn touch(store: &Store, key: SessionKey, accessed_at: Timestamp) {
    store
        .touch(vec![Touch { key, accessed_at }])
        .await
        .expect("the store works");
}

pub(super) async fn all(store: &Store, owner: Owner) -> Vec<Record> {
    store.list(&owner, None, 10_000).await.expect("the store works")
}

pub(super) async fn keys_of(store: &Store, owner: Owner) -> Vec<SessionKey> {
    all(store, owner).await.iter().map(|record| record.key).collect()
}

/// Polls once and drops the future: a caller that gave up.
pub(super) async fn poll_once<T>(mut future: session_process::store::BoxFuture<'_, T>) {
    std::future::poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
}

/// All of them at once, each in a task of its own; what they return, in their order.
pub(super) async fn at_once<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.expect("a task panicked"));
    }
    results
}

pub(super) fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}
