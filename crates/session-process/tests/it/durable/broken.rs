//! What was once broken.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use session_process::{Deferred, ReplySender};
use testkit::Gate;

use super::*;

/// Lets every task that can go on do so.
async fn settled() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_termination_that_nobody_waits_for_any_more_ends_the_process_too() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let terminate = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.terminate(&id).await })
    };
    gate.reached().await;
    terminate.abort();
    let _ = terminate.await;
    node.store.ungate("commit");
    while node.record(&id).await.is_some() {
        tokio::task::yield_now().await;
    }
    settled().await;
    assert!(!node.sessions.is_started(&id), "its record is gone");
}

#[tokio::test]
async fn of_two_rotations_at_once_the_record_goes_where_the_process_goes() {
    let (node, old) = Node::started().await;
    node.sessions.call(&old, Add(7)).await.unwrap();
    let gate = node.store.gate("commit");
    let rotate = |to: &SessionId| {
        let (sessions, old, to) = (node.sessions.clone(), old.clone(), to.clone());
        tokio::spawn(async move { sessions.rotate_to(&old, &to).await.is_ok() })
    };
    let (x, y) = (id("x"), id("y"));
    let (first, second) = (rotate(&x), rotate(&y));
    gate.reached().await;
    settled().await;
    node.store.ungate("commit");
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert!(first != second, "one of them");
    let (new, other) = if first { (x, y) } else { (y, x) };
    assert!(node.record(&new).await.is_some());
    assert!(node.record(&other).await.is_none());
    assert_eq!(node.again().sessions.call(&new, Total).await.unwrap(), 7);
}

#[tokio::test]
async fn a_session_that_is_terminated_while_it_starts_leaves_no_record() {
    let node = Node::<Ledger>::new();
    let id = id("a");
    let gate = node.store.gate("load");
    let start = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.start_with(&id, New).await.is_ok() })
    };
    gate.reached().await;
    let terminate = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.terminate(&id).await })
    };
    settled().await;
    node.store.ungate("load");
    terminate.await.unwrap().unwrap();
    let _ = start.await.unwrap();
    settled().await;
    assert!(node.record(&id).await.is_none());
}

#[tokio::test]
async fn a_record_that_is_deleted_while_its_id_changes_ends_the_process() {
    let (node, old) = Node::started().await;
    let gate = node.store.gate("commit");
    let rotate = {
        let (sessions, old) = (node.sessions.clone(), old.clone());
        tokio::spawn(async move { sessions.rotate(&old).await.is_ok() })
    };
    gate.reached().await;
    node.store.ungate_later("commit");
    assert!(node.records.delete(&old).await.unwrap());
    settled().await;
    gate.open_for_all();
    assert!(!rotate.await.unwrap());
    settled().await;
    assert!(!node.sessions.is_started(&old), "its record is gone");
}
