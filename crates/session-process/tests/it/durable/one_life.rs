//! A session and its record end together, whoever ends them.

use session_process::{RotateError, TerminateError};

use super::*;

#[tokio::test]
async fn a_session_that_is_terminated_is_gone_from_the_store() {
    let (node, id) = Node::started().await;
    node.sessions.terminate(&id).await.unwrap();
    assert!(node.record(&id).await.is_none());
    assert_eq!(node.sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
    assert!(matches!(
        node.sessions.terminate(&id).await,
        Err(TerminateError::NotStarted { .. })
    ));
}

#[tokio::test]
async fn a_sleeping_session_can_be_terminated() {
    let (node, id) = Node::started().await;
    let next = node.again();
    next.sessions.terminate(&id).await.unwrap();
    assert!(node.record(&id).await.is_none());
}

#[tokio::test]
async fn a_termination_that_the_store_does_not_do_is_an_error_and_ends_nothing() {
    let (node, id) = Node::started().await;
    node.store.fail("commit", 1);
    assert!(matches!(
        node.sessions.terminate(&id).await,
        Err(TerminateError::Store { .. })
    ));
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 0);
    node.sessions.terminate(&id).await.unwrap();
}

#[tokio::test]
async fn a_write_on_its_way_does_not_bring_a_session_back() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let call = node.add(&id, 1);
    gate.reached().await;
    let terminate = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.terminate(&id).await })
    };
    tokio::task::yield_now().await;
    node.store.ungate("commit");
    terminate.await.unwrap().unwrap();
    let _ = call.await.unwrap();
    assert!(node.record(&id).await.is_none());
    assert!(!node.sessions.exists(&id).await.unwrap());
}

#[tokio::test]
async fn a_record_that_is_deleted_ends_the_process() {
    let (node, id) = Node::started().await;
    let mut monitor = node.sessions.monitor(&id).unwrap();
    assert!(node.records.delete(&id).await.unwrap());
    assert_eq!(monitor.ended().await, EndReason::Terminated);
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap_err().kind(), "not_started");
    assert!(node.record(&id).await.is_none());
}

#[tokio::test]
async fn a_record_that_is_deleted_elsewhere_ends_the_process() {
    let (node, id) = Node::started().await;
    let mut monitor = node.sessions.monitor(&id).unwrap();
    assert!(node.again().records.delete(&id).await.unwrap());
    assert_eq!(monitor.ended().await, EndReason::Terminated);
}

#[tokio::test]
async fn a_process_that_stops_itself_answers_and_takes_its_record_along() {
    struct Leave;
    impl Handle<Leave> for Ledger {
        type Reply = &'static str;
        async fn handle(&mut self, _: Leave, cx: &mut Context<Self>) -> &'static str {
            self.sum += 1;
            cx.stop(EndReason::Stopped);
            "bye"
        }
    }
    let (node, id) = Node::started().await;
    let mut monitor = node.sessions.monitor(&id).unwrap();
    assert_eq!(node.sessions.call(&id, Leave).await.unwrap(), "bye");
    assert_eq!(monitor.ended().await, EndReason::Stopped);
    assert!(node.record(&id).await.is_none());
}

#[tokio::test]
async fn a_session_that_expires_takes_its_record_along() {
    let (node, id) = Node::started().await;
    let mut monitor = node.sessions.monitor(&id).unwrap();
    node.clock.advance(HOUR);
    node.sessions.expire_now().await;
    assert!(matches!(monitor.ended().await, EndReason::Expired(_)));
    assert!(node.record(&id).await.is_none());
}

#[tokio::test]
async fn a_killed_session_does_not_come_back() {
    let (node, id) = Node::started().await;
    node.sessions.kill(&id).unwrap();
    while node.record(&id).await.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
}

#[tokio::test]
async fn a_new_id_moves_the_record_and_the_old_one_is_dead_everywhere() {
    let (node, old) = Node::started().await;
    node.sessions.call(&old, Add(7)).await.unwrap();
    let new = node.sessions.rotate(&old).await.unwrap();
    assert!(node.record(&old).await.is_none());
    assert_eq!(node.sessions.call(&new, Add(1)).await.unwrap(), 8);
    assert_eq!(node.sessions.call(&old, Total).await.unwrap_err().kind(), "not_started");
    let next = node.again();
    assert_eq!(next.sessions.call(&old, Total).await.unwrap_err().kind(), "not_started");
    assert_eq!(next.sessions.call(&new, Total).await.unwrap(), 8);
    node.records.delete(&new).await.unwrap();
    assert!(!node.sessions.is_started(&new), "it is known by its new id");
}

#[tokio::test]
async fn a_sleeping_session_gets_a_new_id_too() {
    let (node, old) = Node::started().await;
    let next = node.again();
    let new = next.sessions.rotate(&old).await.unwrap();
    assert_eq!(next.sessions.call(&new, Total).await.unwrap(), 0);
    let unknown = SessionId::generate();
    assert!(matches!(
        next.sessions.rotate(&unknown).await,
        Err(RotateError::NotStarted { .. })
    ));
}

#[tokio::test]
async fn a_rotation_while_a_write_is_on_its_way_loses_nothing() {
    let (node, old) = Node::started().await;
    let gate = node.store.gate("commit");
    let call = node.add(&old, 1);
    gate.reached().await;
    let rotate = {
        let (sessions, old) = (node.sessions.clone(), old.clone());
        tokio::spawn(async move { sessions.rotate(&old).await })
    };
    tokio::task::yield_now().await;
    node.store.ungate("commit");
    let new = rotate.await.unwrap().unwrap();
    assert_eq!(call.await.unwrap(), Ok(1));
    assert_eq!(node.sessions.call(&new, Add(1)).await.unwrap(), 2);
    assert_eq!(node.stored(&new).await.unwrap(), r#"{"sum":2}"#);
}

#[tokio::test]
async fn attributes_and_the_state_of_a_session_do_not_get_in_each_others_way() {
    let (node, id) = Node::started().await;
    for n in 1..=20u64 {
        let set = |attributes: &mut session_process::Attributes| attributes.insert("n", n);
        node.records.update(&id, set).await.unwrap();
        assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), n);
    }
    let record = node.record(&id).await.unwrap();
    assert_eq!(&*record.attributes["n"].json, "20");
}

#[tokio::test]
async fn a_session_that_is_just_waking_gets_a_new_id_too() {
    let (node, old) = Node::started().await;
    let next = node.again();
    let gate = next.store.gate("load");
    let call = next.add(&old, 7);
    gate.reached().await;
    let (sessions, id) = (next.sessions.clone(), old.clone());
    let rotate = tokio::spawn(async move { sessions.rotate(&id).await });
    others_work().await;
    next.store.ungate("load");
    let new = rotate.await.unwrap().unwrap();
    let _ = call.await;
    assert!(next.sessions.exists(&new).await.unwrap());
    assert!(!next.sessions.exists(&old).await.unwrap());
}

#[derive(Default, Serialize, Deserialize)]
struct Slow;

impl Process for Slow {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("slow", 1));

    async fn terminate(&mut self, _: EndReason, cx: &mut Context<Self>) {
        cx.extension::<testkit::Gate>().unwrap().pass().await;
    }
}

#[tokio::test]
async fn the_end_of_a_deleted_session_leaves_the_next_one_alone() {
    let hook = testkit::Gate::new();
    let node = Node::<Slow>::with(|builder| builder.extension(hook.clone()));
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    let mut monitor = node.sessions.monitor(&id).unwrap();
    node.records.delete(&id).await.unwrap();
    hook.reached().await;
    let again = session_process::records::NewSession::new();
    node.records.create_with_id(id.clone(), again).await.unwrap();
    hook.open_for_all();
    monitor.ended().await;
    assert!(node.record(&id).await.is_some());
}

#[tokio::test]
async fn a_rotation_that_took_effect_without_an_answer_is_finished() {
    let (node, old) = Node::started().await;
    assert_eq!(node.sessions.call(&old, Add(3)).await.unwrap(), 3);
    node.store.fail("committed", 1);
    let new = node.sessions.rotate(&old).await.unwrap();
    others_work().await;
    assert_eq!(node.sessions.call(&new, Add(1)).await.unwrap(), 4);
    assert!(!node.sessions.exists(&old).await.unwrap());
}
