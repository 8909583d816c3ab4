//! Limits hold at every moment.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use session_process::{
    AttributeError, attributes,
    records::{NewSession, RecordError, UpdateError},
    store::{OwnerLimit, OwnerLimitPolicy},
};

use super::*;

fn at_most(max: u32, policy: OwnerLimitPolicy) -> OwnerLimit {
    OwnerLimit {
        max: NonZeroU32::new(max).unwrap(),
        policy,
    }
}

/// Creates 100 at once while another task counts. Returns how many were made, and the most that were ever seen.
async fn create_a_hundred(policy: OwnerLimitPolicy) -> (usize, usize, usize) {
    let bench = Bench::with(|builder| builder.sessions_per_user(at_most(5, policy)));
    let done = Arc::new(AtomicBool::new(false));
    let (store, stop) = (Arc::clone(&bench.store), Arc::clone(&done));
    let observer = tokio::spawn(async move {
        let (mut most, mut looks) = (0, 0);
        while !stop.load(SeqCst) || looks == 0 {
            most = most.max(store.inner.list(&user("ada"), None, 1_000).await.unwrap().len());
            looks += 1;
            tokio::task::yield_now().await;
        }
        most
    });
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let records = bench.records.clone();
            tokio::spawn(async move { records.create(NewSession::for_user("ada")).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, RecordError::OwnerLimit { max } if max.get() == 5)),
        }
    }
    done.store(true, SeqCst);
    let left = bench.records.list(&user("ada"), None, 1_000).await.unwrap().len();
    (made, observer.await.unwrap(), left)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_created_at_once_with_a_limit_of_five_five_are_made_and_no_more_ever_seen() {
    let (made, most, left) = create_a_hundred(OwnerLimitPolicy::Reject).await;
    assert_eq!((made, left), (5, 5));
    assert!(most <= 5, "{most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_that_make_room_for_each_other_no_more_than_five_are_ever_seen() {
    let (made, most, left) = create_a_hundred(OwnerLimitPolicy::EvictOldest).await;
    assert_eq!((made, left), (100, 5));
    assert!(most <= 5, "{most}");
}

#[tokio::test]
async fn the_session_in_use_is_kept_and_the_idle_one_makes_room() {
    let bench = Bench::with(|builder| builder.sessions_per_user(at_most(2, OwnerLimitPolicy::EvictOldest)));
    let used = bench.session().await;
    bench.clock.advance(SECOND);
    let idle = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&used).await.unwrap();
    assert_eq!(bench.store.touches.load(SeqCst), 0, "the store doesn't know of it yet");
    let created = bench.create(NewSession::for_user("ada")).await;
    assert_eq!(created.evicted.len(), 1);
    assert_eq!(created.evicted[0].key, (&idle).into());
    assert!(bench.records.get(&used).await.unwrap().is_some());
    assert!(
        bench.records.get(&idle).await.unwrap().is_none(),
        "not from the cache either"
    );
}

/// Its use was nobody's when it was noted, and waits to be told of until after the next ones.
#[tokio::test]
async fn the_session_in_use_is_kept_also_where_it_was_used_before_the_login() {
    let bench = Bench::with(|builder| builder.sessions_per_user(at_most(2, OwnerLimitPolicy::EvictOldest)));
    let used = bench.create(NewSession::new()).await.id;
    bench.clock.advance(SECOND);
    bench.records.get(&used).await.unwrap();
    bench.records.set_user(&used, Some("ada")).await.unwrap();
    bench.clock.advance(SECOND);
    let idle = bench.create(NewSession::for_user("ada")).await.id;
    bench.clock.advance(SECOND);
    bench.records.get(&used).await.unwrap();
    let created = bench.create(NewSession::for_user("ada")).await;
    assert_eq!(created.evicted.len(), 1);
    assert_eq!(created.evicted[0].key, (&idle).into());
}

/// A store that is slow to take note of 100,000 accesses is no reason for nobody to log in.
#[tokio::test]
async fn a_login_does_not_wait_for_accesses_of_others_that_are_being_written() {
    let bench = Bench::with(|builder| builder.sessions_per_user(at_most(1, OwnerLimitPolicy::EvictOldest)));
    let others = bench.create(NewSession::for_user("bob")).await.id;
    let used = bench.create(NewSession::for_user("ada")).await.id;
    bench.clock.advance(SECOND);
    bench.records.get(&others).await.unwrap();
    let (gate, flush) = flush_at_gate(&bench).await;
    bench.store.ungate_later("touch");
    bench.records.get(&used).await.unwrap();
    let created = bench.create(NewSession::for_user("ada")).await;
    assert_eq!(created.evicted.len(), 1);
    assert_eq!(bench.store.touches.load(SeqCst), 2, "hers, and the one that hangs");
    assert!(!flush.is_finished());
    gate.open_for_all();
    flush.await.unwrap().unwrap();
    assert_eq!(bench.records.stats().pending_accesses, 0);
}

#[tokio::test]
async fn a_login_counts_and_nobodys_sessions_do_not() {
    let bench = Bench::with(|builder| builder.sessions_per_user(at_most(1, OwnerLimitPolicy::Reject)));
    let (one, two) = (
        bench.create(NewSession::new()).await.id,
        bench.create(NewSession::new()).await.id,
    );
    assert_eq!(
        bench.records.set_user(&one, Some("ada")).await.unwrap().user_id(),
        Some("ada")
    );
    bench.records.set_user(&one, Some("ada")).await.unwrap();
    let refused = bench.records.set_user(&two, Some("ada")).await;
    assert!(matches!(refused, Err(RecordError::OwnerLimit { .. })));
    bench.records.set_user(&one, None).await.unwrap();
    bench.records.set_user(&two, Some("ada")).await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_refused_at_creation_and_at_updates() {
    let bench = Bench::new();
    let mebibyte = "x".repeat(1 << 20);
    let refused = |result: Result<_, RecordError>| match result {
        Err(RecordError::Attribute(error)) => error.kind(),
        _ => panic!("it was taken"),
    };
    let new = NewSession::new().attribute("a", &mebibyte);
    assert_eq!(refused(bench.records.create(new).await.map(drop)), "value_too_long");
    let new = NewSession::new().attribute(mebibyte.as_str(), 1);
    assert_eq!(refused(bench.records.create(new).await.map(drop)), "key_too_long");
    let new = (0..101).fold(NewSession::new(), |new, nth| new.attribute(format!("a{nth}"), nth));
    assert_eq!(refused(bench.records.create(new).await.map(drop)), "too_many");
    // Attributes that were made under other limits.
    let mut large = session_process::Attributes::new(bench.records.now())
        .with_limits(attributes::Limits::new().max_value_len(usize::MAX));
    large.insert("a", &mebibyte).unwrap();
    let new = NewSession::new().attributes(large.clone());
    assert_eq!(refused(bench.records.create(new).await.map(drop)), "value_too_long");
    assert!(bench.store.inner.is_empty());

    let id = bench.session().await;
    let update = bench
        .records
        .update(&id, |attributes| attributes.insert("a", &mebibyte));
    assert!(matches!(
        update.await,
        Err(UpdateError::Refused(AttributeError::ValueTooLong { .. }))
    ));
    let update = bench.records.update(&id, |attributes| {
        *attributes = large.clone();
        Ok::<_, AttributeError>(())
    });
    assert!(matches!(
        update.await,
        Err(UpdateError::Attribute(AttributeError::ValueTooLong { .. }))
    ));
    assert!(bench.records.create(NewSession::for_user("")).await.is_err());
    assert!(
        bench
            .records
            .create(NewSession::for_user("u".repeat(256)))
            .await
            .is_err()
    );
}
