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
