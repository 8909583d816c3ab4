//! A durable process survives panics, shutdowns and programs.

use std::sync::atomic::Ordering::SeqCst;

use super::*;

#[tokio::test]
async fn another_program_on_the_same_store_goes_on_where_the_first_one_was() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    let next = node.again();
    assert_eq!(
        next.sessions.call(&id, Total).await.unwrap(),
        7,
        "its first message brings it back"
    );
    assert!(!next.sessions.start_with(&id, New).await.unwrap());
    assert_eq!(node.runs.inits.load(SeqCst), 1);
    assert_eq!(next.runs.inits.load(SeqCst), 0, "`init` is for new sessions");
}

#[tokio::test]
async fn a_start_brings_back_what_there_is() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    let next = node.again();
    next.sessions.start_with(&id, New).await.unwrap();
    assert_eq!(next.runs.inits.load(SeqCst), 0);
    assert_eq!(next.sessions.call(&id, Total).await.unwrap(), 7);
}

#[tokio::test]
async fn a_panic_takes_the_process_to_its_last_durable_state() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    assert_eq!(node.sessions.call(&id, Boom).await.unwrap_err().kind(), "crashed");
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 7);
    assert_eq!(node.runs.inits.load(SeqCst), 1);
}

#[tokio::test]
async fn a_panic_fails_changes_that_are_not_durable_and_waits_for_those_on_their_way() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let on_its_way = node.add(&id, 1);
    gate.reached().await;
    let waiting = node.add(&id, 10);
    node.is_at(&id, 11).await;
    let boom = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.call(&id, Boom).await.map_err(|error| error.kind()) })
    };
    assert_eq!(boom.await.unwrap(), Err("crashed"));
    node.store.ungate("commit");
    assert_eq!(on_its_way.await.unwrap(), Ok(1));
    assert_eq!(waiting.await.unwrap(), Err("not_saved"));
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 1);
}

#[tokio::test]
async fn too_many_panics_end_the_process_and_not_the_session() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    for _ in 0..4 {
        let _ = node.sessions.call(&id, Boom).await;
    }
    assert_eq!(
        node.sessions.call(&id, Total).await.unwrap(),
        7,
        "the next message brings it back"
    );
}

#[tokio::test]
async fn a_shutdown_keeps_the_sessions() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    let report = node.sessions.shutdown(MINUTE).await;
    assert!(report.cut.is_empty());
    assert_eq!(node.runs.hooks.load(SeqCst), 1);
    assert_eq!(node.again().sessions.call(&id, Total).await.unwrap(), 7);
}

#[tokio::test]
async fn an_id_that_nobody_knows_takes_up_nothing() {
    let (node, _) = Node::started().await;
    let unknown = SessionId::generate();
    assert_eq!(
        node.sessions.call(&unknown, Total).await.unwrap_err().kind(),
        "not_started"
    );
    assert!(!node.sessions.exists(&unknown).await.unwrap());
    assert_eq!(node.sessions.stats().sessions, 1);
    assert!(node.record(&unknown).await.is_none());
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error_and_never_no_session() {
    let (node, id) = Node::started().await;
    let next = node.again();
    node.store.fail("load", 1);
    let error = next.sessions.call(&id, Total).await.unwrap_err();
    assert_eq!(error.kind(), "not_loaded");
    assert!(error.into_message().is_some(), "the message comes back");
    node.store.fail("load", 1);
    assert_eq!(
        next.sessions.start_with(&id, New).await.unwrap_err().kind(),
        "not_loaded"
    );
    node.store.fail("load", 1);
    assert!(next.sessions.exists(&id).await.is_err());
    assert_eq!(next.sessions.stats().sessions, 0);
    assert_eq!(next.sessions.call(&id, Total).await.unwrap(), 0);
}

#[tokio::test]
async fn a_new_session_that_can_not_be_saved_is_not_started() {
    let node = Node::<Ledger>::new();
    let id = id("a");
    node.store.fail("commit", 1);
    assert_eq!(
        node.sessions.start_with(&id, New).await.unwrap_err().kind(),
        "not_loaded"
    );
    assert_eq!(node.sessions.stats().sessions, 0);
    assert!(node.sessions.start_with(&id, New).await.unwrap());
}
