//! Write-behind: nobody waits, and little is lost.

use std::sync::atomic::Ordering::SeqCst;

use super::*;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Notes {
    pub(crate) count: u64,
}

impl Process for Notes {
    const DURABILITY: Durability<Self> = Durability::write_behind(Schema::json("notes", 1), MINUTE);
}

impl Handle<Add> for Notes {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.count += n;
        self.count
    }
}

async fn started() -> (Node<Notes>, SessionId) {
    let node = Node::<Notes>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    (node, id)
}

async fn stored(node: &Node<Notes>, id: &SessionId, state: &str) {
    while node.stored(id).await.as_deref() != Some(state) {
        tokio::task::yield_now().await;
    }
}

/// Lets the tasks that set an alarm come to it.
async fn alarms_are_set() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn replies_come_at_once_and_many_changes_go_as_one() {
    let (node, id) = started().await;
    let commits = node.store.commits.load(SeqCst);
    for n in 1..=100 {
        assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), n);
    }
    assert_eq!(node.store.commits.load(SeqCst), commits);
    alarms_are_set().await;
    node.clock.advance(MINUTE);
    stored(&node, &id, r#"{"count":100}"#).await;
    assert_eq!(node.store.commits.load(SeqCst) - commits, 1);
}

#[tokio::test]
async fn a_write_that_fails_is_tried_again_and_the_state_stays() {
    let (node, id) = started().await;
    node.sessions.call(&id, Add(1)).await.unwrap();
    node.store.fail("commit", 3);
    for _ in 0..5 {
        alarms_are_set().await;
        node.clock.advance(MINUTE);
    }
    assert_eq!(node.sessions.call(&id, Add(0)).await.unwrap(), 1);
    stored(&node, &id, r#"{"count":1}"#).await;
}

#[tokio::test]
async fn a_shutdown_writes_what_is_left() {
    let (node, id) = started().await;
    node.sessions.call(&id, Add(5)).await.unwrap();
    let _ = node.sessions.shutdown(MINUTE).await;
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"count":5}"#);
}

#[tokio::test]
async fn a_shutdown_tries_again_until_its_deadline() {
    let (node, id) = started().await;
    node.sessions.call(&id, Add(5)).await.unwrap();
    node.store.fail("commit", 2);
    let sessions = node.sessions.clone();
    let shutdown = tokio::spawn(async move { sessions.shutdown(MINUTE).await });
    let clock = node.clock.clone();
    let ticks = async {
        loop {
            alarms_are_set().await;
            clock.advance(Duration::from_millis(500));
        }
    };
    let report = tokio::select! {
        report = shutdown => report.unwrap(),
        () = ticks => unreachable!(),
    };
    assert!(report.cut.is_empty());
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"count":5}"#);
}

#[tokio::test]
async fn sleep_writes_what_is_left() {
    let node = Node::<Notes>::with(|builder| builder.sleep_after(MINUTE / 2));
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    node.sessions.call(&id, Add(5)).await.unwrap();
    node.clock.advance(MINUTE / 2);
    while node.sessions.stats().sessions > 0 {
        node.sessions.expire_now().await;
        tokio::task::yield_now().await;
    }
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"count":5}"#);
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 6);
}

/// The write of its first change took effect, and the answer is missing; the second is in memory.
async fn written_without_an_answer() -> (Node<Notes>, SessionId) {
    let (node, id) = started().await;
    node.sessions.call(&id, Add(1)).await.unwrap();
    node.store.fail("committed", 1);
    alarms_are_set().await;
    node.clock.advance(MINUTE);
    alarms_are_set().await;
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 2);
    (node, id)
}

#[tokio::test]
async fn a_write_that_took_effect_without_an_answer_takes_nothing_back() {
    let (node, id) = written_without_an_answer().await;
    for _ in 0..5 {
        alarms_are_set().await;
        node.clock.advance(MINUTE);
    }
    assert_eq!(node.sessions.call(&id, Add(0)).await.unwrap(), 2);
    stored(&node, &id, r#"{"count":2}"#).await;
}

#[tokio::test]
async fn nor_does_it_at_a_shutdown() {
    let (node, id) = written_without_an_answer().await;
    let _ = node.sessions.shutdown(MINUTE).await;
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"count":2}"#);
}

#[tokio::test]
async fn an_engine_that_is_dropped_with_changes_that_are_not_saved_warns() {
    let (log, _guard) = testkit::capture_tracing();
    for (change, shut_down, warns) in [(true, false, true), (true, true, false), (false, false, false)] {
        let (node, id) = started().await;
        if change {
            node.sessions.call(&id, Add(1)).await.unwrap();
        }
        if shut_down {
            let _ = node.sessions.shutdown(MINUTE).await;
        }
        let before = log.text().len();
        drop(node);
        let said = log.text()[before..].contains("dropped without `shutdown`");
        assert_eq!(said, warns, "changed: {change}, shut down: {shut_down}");
    }
}

#[tokio::test]
async fn a_durable_process_without_records_warns_and_its_sleep_is_refused() {
    let (log, _guard) = testkit::capture_tracing();
    let built = Sessions::<Notes>::builder().build();
    assert!(built.is_ok() && log.text().contains("without records"));
    let error = Sessions::<Notes>::builder().sleep_after(MINUTE).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`sleep_after` needs `records`: without a store there is nothing to sleep in"
    );
}
