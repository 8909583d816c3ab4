//! What neither of the two systems has, row by row: N1 to N4. (N7 is in `parity_records`.)

use std::sync::atomic::Ordering::SeqCst;

use session_process::SessionId;

use crate::durable::{Add, Ledger, MINUTE, New, Node, Total};

/// N1. (The real thing, with `kill -9` and a file, is in `examples/shop` and `session-process-sqlite`.)
#[tokio::test]
async fn n1_a_node_that_is_gone_loses_no_acknowledged_change() {
    let (node, id) = Node::started().await;
    for _ in 0..10 {
        node.sessions.call(&id, Add(1)).await.unwrap();
    }
    let next = node.again();
    // No shutdown: everything in memory goes.
    drop(node);
    assert_eq!(next.sessions.call(&id, Total).await.unwrap(), 10);
}

/// N2.
#[tokio::test]
async fn n2_no_reply_before_its_state_is_durable_and_many_replies_for_one_commit() {
    let (node, id) = Node::started().await;
    let commits = node.store.commits.load(SeqCst);
    let gate = node.store.gate("commit");
    let calls: Vec<_> = (0..100).map(|_| node.add(&id, 1)).collect();
    gate.reached().await;
    node.is_at(&id, 100).await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    node.store.ungate("commit");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(node.store.commits.load(SeqCst) - commits, 2);
}

/// N3.
#[tokio::test]
async fn n3_many_more_sessions_than_are_in_memory() {
    let node = Node::<Ledger>::with(|builder| builder.sleep_after(MINUTE).max_sessions(100));
    let ids: Vec<SessionId> = (0..1_000).map(|_| SessionId::generate()).collect();
    for some in ids.chunks(100) {
        for id in some {
            node.sessions.start_with(id, New).await.unwrap();
            node.sessions.call(id, Add(1)).await.unwrap();
        }
        node.clock.advance(MINUTE);
        while node.sessions.stats().sessions > 0 {
            node.sessions.expire_now().await;
            tokio::task::yield_now().await;
        }
    }
    for id in ids.iter().step_by(100) {
        assert_eq!(node.sessions.call(id, Add(1)).await.unwrap(), 2);
    }
    assert_eq!(node.sessions.stats().sessions, 10);
}
