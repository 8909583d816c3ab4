//! What can be asked of a session that sleeps, without a message.

use super::*;

/// A volatile type beside it.
#[derive(Default)]
struct Fleeting;
impl Process for Fleeting {}

/// Asleep: in the store alone.
async fn asleep() -> (Node, SessionId) {
    let node = Node::with(|builder| builder.sleep_after(MINUTE));
    let id = id("a");
    node.sessions.start_with(&id, New).await.unwrap();
    node.clock.advance(MINUTE);
    while node.sessions.stats().sessions > 0 {
        node.sessions.expire_now().await;
        tokio::task::yield_now().await;
    }
    (node, id)
}

#[tokio::test]
async fn a_use_of_a_sleeping_session_keeps_it_and_lets_it_sleep() {
    let (node, id) = asleep().await;
    for _ in 0..8 {
        node.clock.advance(HOUR / 2);
        assert!(node.sessions.refresh(&id).await.unwrap());
        assert!(!node.sessions.is_started(&id));
        // The store is told within 30 seconds, of which the clock jumps over sixty.
        node.records.flush_accesses().await.unwrap();
    }
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 0);
    node.clock.advance(HOUR);
    assert!(
        !node.sessions.refresh(&id).await.unwrap(),
        "an expired one can't be brought back"
    );
    assert!(!node.sessions.exists(&id).await.unwrap());
    assert!(!node.sessions.refresh(&SessionId::generate()).await.unwrap());
}

#[tokio::test]
async fn a_use_of_one_that_is_awake_is_a_touch() {
    let (node, id) = Node::started().await;
    node.clock.advance(HOUR - MINUTE);
    assert!(node.sessions.refresh(&id).await.unwrap());
    node.clock.advance(HOUR - MINUTE);
    assert!(node.sessions.is_started(&id));
    node.clock.advance(MINUTE);
    assert!(!node.sessions.refresh(&id).await.unwrap());
    // Also of a volatile one, which no store knows.
    let fleeting = SessionId::generate();
    node.sessions.of::<Fleeting>().start(&fleeting).await.unwrap();
    assert!(node.sessions.refresh(&fleeting).await.unwrap());
    node.clock.advance(HOUR);
    assert!(!node.sessions.refresh(&fleeting).await.unwrap());
}

#[tokio::test]
async fn a_session_is_woken_without_a_message_and_followed() {
    let (node, id) = asleep().await;
    assert!(node.sessions.monitor(&id).is_err());
    assert!(node.sessions.wake(&id).await.unwrap());
    assert!(node.sessions.is_started(&id));
    let mut monitor = node.sessions.monitor(&id).unwrap();
    node.clock.advance(MINUTE);
    node.sessions.expire_now().await;
    assert!(node.sessions.is_started(&id), "it stays awake");
    node.sessions.terminate(&id).await.unwrap();
    assert_eq!(monitor.ended().await, EndReason::Terminated);
    assert!(!node.sessions.wake(&id).await.unwrap());
    assert!(!node.sessions.wake(&SessionId::generate()).await.unwrap());
    assert_eq!(
        node.sessions.stats().sessions,
        0,
        "nothing is left of those that never were"
    );
}

#[tokio::test]
async fn waking_is_no_use() {
    let (node, id) = asleep().await;
    node.clock.advance(HOUR - 2 * MINUTE);
    assert!(node.sessions.wake(&id).await.unwrap());
    node.clock.advance(MINUTE);
    assert!(!node.sessions.is_started(&id));
}

#[tokio::test]
async fn many_who_wake_a_session_at_once_wait_for_one_load() {
    let (node, id) = asleep().await;
    node.records.clear_cache();
    let loads = node.store.loads.load(SeqCst);
    let gate = node.store.gate("load");
    let wakes: Vec<_> = (0..8)
        .map(|_| {
            let (sessions, id) = (node.sessions.clone(), id.clone());
            tokio::spawn(async move {
                let there = sessions.wake(&id).await.unwrap();
                there && sessions.is_started(&id)
            })
        })
        .collect();
    gate.reached().await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    node.store.ungate("load");
    for wake in wakes {
        assert!(wake.await.unwrap());
    }
    assert_eq!(node.store.loads.load(SeqCst) - loads, 1);
}

#[tokio::test]
async fn who_wakes_what_can_not_be_woken_is_told_why() {
    let (node, id) = asleep().await;
    let fleeting = node.sessions.of::<Fleeting>();
    assert_eq!(fleeting.wake(&id).await.unwrap_err().kind(), "wrong_process");
    assert!(!fleeting.wake(&SessionId::generate()).await.unwrap());
    node.records.clear_cache();
    node.store.fail("load", 1);
    assert_eq!(node.sessions.wake(&id).await.unwrap_err().kind(), "not_loaded");
    node.records.clear_cache();
    node.store.fail("load", 1);
    assert!(node.sessions.refresh(&id).await.is_err(), "not the same as `false`");
    assert!(node.sessions.wake(&id).await.unwrap());
}

#[tokio::test]
async fn the_time_of_an_authentication_is_in_the_record_and_fails_closed() {
    let (node, id) = Node::started().await;
    assert_eq!(node.sessions.authenticated_for(&id).await.unwrap(), None);
    assert!(node.sessions.mark_authenticated(&id).await.unwrap());
    node.clock.advance(MINUTE);
    assert_eq!(node.sessions.authenticated_for(&id).await.unwrap(), Some(MINUTE));
    // It is beside the state, which goes on being written.
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 1);
    let other = node.again();
    assert_eq!(other.sessions.authenticated_for(&id).await.unwrap(), Some(MINUTE));
    let new = node.sessions.rotate(&id).await.unwrap();
    assert_eq!(node.sessions.authenticated_for(&new).await.unwrap(), Some(MINUTE));
    assert_eq!(node.sessions.authenticated_for(&id).await.unwrap(), None);

    node.records.clear_cache();
    node.store.fail("load", 1);
    assert!(node.sessions.authenticated_for(&new).await.is_err());
    let meddled = node.records.update(&new, |attributes| {
        attributes.insert("session-process.authenticated_at", "not a time")
    });
    meddled.await.unwrap();
    assert_eq!(node.sessions.authenticated_for(&new).await.unwrap(), None);
    assert!(!node.sessions.mark_authenticated(&SessionId::generate()).await.unwrap());
}

#[tokio::test]
async fn a_volatile_session_keeps_that_time_in_memory_and_across_rotations() {
    let node = Node::<Fleeting>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    assert!(node.sessions.mark_authenticated(&id).await.unwrap());
    node.clock.advance(MINUTE);
    let new = node.sessions.rotate(&id).await.unwrap();
    assert_eq!(node.sessions.authenticated_for(&new).await.unwrap(), Some(MINUTE));
    let stats = node.sessions.session_stats(&new).unwrap();
    assert_eq!((stats.age, stats.id_age), (MINUTE, Duration::ZERO));
    node.sessions.terminate(&new).await.unwrap();
    assert_eq!(node.sessions.authenticated_for(&new).await.unwrap(), None);
    assert!(!node.sessions.mark_authenticated(&new).await.unwrap());
    assert!(node.record(&new).await.is_none(), "no record for that");
}
