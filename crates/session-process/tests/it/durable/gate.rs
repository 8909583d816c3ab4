//! No reply leaves before the state that it reflects is durable.

use std::sync::atomic::Ordering::SeqCst;

use session_process::{CallError, SaveError};

use super::*;

#[tokio::test]
async fn a_reply_waits_for_its_commit_while_the_process_goes_on() {
    let (node, id) = Node::started().await;
    let commits = node.store.commits.load(SeqCst);
    let gate = node.store.gate("commit");
    let first = node.add(&id, 1);
    gate.reached().await;
    let others: Vec<_> = (0..63).map(|_| node.add(&id, 1)).collect();
    node.is_at(&id, 64).await;
    assert!(!first.is_finished() && others.iter().all(|call| !call.is_finished()));
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"sum":0}"#);

    node.store.ungate("commit");
    assert_eq!(first.await.unwrap(), Ok(1));
    for call in others {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"sum":64}"#);
    assert_eq!(
        node.store.commits.load(SeqCst) - commits,
        2,
        "64 changes went in two writes"
    );
}

#[tokio::test]
async fn a_reply_is_there_only_when_the_store_has_its_state() {
    let (node, id) = Node::started().await;
    for n in 1..=20 {
        assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), n);
        assert_eq!(node.stored(&id).await.unwrap(), format!(r#"{{"sum":{n}}}"#));
    }
}

#[tokio::test]
async fn a_read_waits_for_the_changes_that_it_has_seen() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let change = node.add(&id, 1);
    gate.reached().await;
    let read = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.call(&id, Total).await })
    };
    node.is_at(&id, 1).await;
    assert!(!read.is_finished());
    node.store.ungate("commit");
    assert_eq!(read.await.unwrap().unwrap(), 1);
    assert_eq!(change.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn a_read_alone_writes_nothing_and_neither_does_a_change_that_is_none() {
    let (node, id) = Node::started().await;
    let commits = node.store.commits.load(SeqCst);
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 0);
    assert_eq!(node.sessions.call(&id, Add(0)).await.unwrap(), 0);
    assert_eq!(node.store.commits.load(SeqCst), commits);
}

#[tokio::test]
async fn a_write_that_fails_fails_all_who_wait_and_takes_the_process_back() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(5)).await.unwrap();
    let gate = node.store.gate("commit");
    let first = node.add(&id, 1);
    gate.reached().await;
    let others: Vec<_> = (0..99).map(|_| node.add(&id, 1)).collect();
    node.is_at(&id, 105).await;
    node.store.fail("commit", 1);
    node.store.ungate("commit");
    assert_eq!(first.await.unwrap(), Err("not_saved"));
    for call in others {
        assert_eq!(call.await.unwrap(), Err("not_saved"));
    }
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 5);
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 6);
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"sum":6}"#);
}

#[tokio::test]
async fn who_repeats_at_once_after_a_failed_write_succeeds() {
    let (node, id) = Node::started().await;
    node.store.fail("commit", 1);
    let error = node.sessions.call(&id, Add(1)).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::NotSaved {
                source: SaveError::Store(_),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_commit_that_took_effect_without_an_answer_is_not_lost_and_not_applied_twice() {
    let (node, id) = Node::started().await;
    node.store.fail("committed", 1);
    let error = node.sessions.call(&id, Add(1)).await.unwrap_err();
    assert_eq!(error.kind(), "not_saved", "it is open whether it was");
    // The next write meets what the store has, and says so.
    let next = node.sessions.call(&id, Add(10)).await;
    let sum = node.sessions.call(&id, Total).await.unwrap();
    let expected = if next.is_ok() { 11 } else { 1 };
    assert_eq!(sum, expected);
    assert_eq!(node.stored(&id).await.unwrap(), format!(r#"{{"sum":{sum}}}"#));
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nothing_back() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let call = node.add(&id, 1);
    gate.reached().await;
    call.abort();
    node.store.ungate("commit");
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 1);
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"sum":1}"#);
}

#[tokio::test]
async fn the_deadline_covers_the_wait_for_the_store() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let call = node.add(&id, 1);
    gate.reached().await;
    // Below the time limit of the records, and above that of the call.
    let (sessions, other) = (node.sessions.clone(), id.clone());
    let hasty = tokio::spawn(async move {
        let within = std::time::Duration::from_millis(500);
        sessions
            .call_within(&other, Total, within)
            .await
            .map_err(|error| error.kind())
    });
    node.is_at(&id, 1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    node.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(hasty.await.unwrap(), Err("timeout"));
    node.store.ungate("commit");
    assert_eq!(call.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn after_a_write_whose_outcome_is_open_a_read_tells_what_the_store_has() {
    let (node, id) = Node::started().await;
    node.store.fail("committed", 1);
    node.sessions.call(&id, Add(1)).await.unwrap_err();
    let read = node.sessions.call(&id, Total).await.unwrap();
    assert_eq!(node.stored(&id).await.unwrap(), format!(r#"{{"sum":{read}}}"#));
}

#[tokio::test]
async fn if_the_store_does_not_tell_nothing_is_read_from_memory() {
    let (node, id) = Node::started().await;
    node.store.fail("committed", 1);
    node.store.fail("load", 2);
    node.sessions.call(&id, Add(1)).await.unwrap_err();
    let read = node.sessions.call(&id, Total).await;
    assert_eq!(read.unwrap_err().kind(), "not_loaded");
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 1);
}

#[tokio::test]
async fn a_change_that_a_shutdown_saves_after_all_is_acknowledged() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let call = node.add(&id, 1);
    gate.reached().await;
    let sessions = node.sessions.clone();
    let shutdown = tokio::spawn(async move { sessions.shutdown(MINUTE).await });
    others_work().await;
    node.store.fail("commit", 1);
    node.store.ungate("commit");
    let _ = shutdown.await.unwrap();
    let is_stored = node.stored(&id).await.unwrap() == r#"{"sum":1}"#;
    assert_eq!(call.await.unwrap().is_ok(), is_stored);
}

#[tokio::test]
async fn a_start_after_a_cast_to_a_session_that_never_was_starts_it() {
    let node = Node::<Ledger>::new();
    node.sessions.cast(&id("a"), Add(1)).unwrap();
    assert!(node.sessions.start_with(&id("a"), New).await.unwrap());
}

#[tokio::test]
async fn all_who_wait_for_a_session_that_can_not_be_loaded_hear_so() {
    let (node, id) = Node::started().await;
    let next = node.again();
    let gate = next.store.gate("load");
    let (one, two) = (next.add(&id, 1), next.add(&id, 1));
    gate.reached().await;
    others_work().await;
    next.store.fail("load", 1);
    next.store.ungate("load");
    assert_eq!([one.await.unwrap(), two.await.unwrap()], [Err("not_loaded"); 2]);
}
