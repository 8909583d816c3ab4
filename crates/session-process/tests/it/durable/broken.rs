//! What was once broken.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use session_process::{Deferred, ReplySender};
use testkit::Gate;

use super::*;

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
    others_work().await;
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
    others_work().await;
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
    others_work().await;
    node.store.ungate("load");
    terminate.await.unwrap().unwrap();
    let _ = start.await.unwrap();
    others_work().await;
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
    others_work().await;
    gate.open_for_all();
    assert!(!rotate.await.unwrap());
    others_work().await;
    assert!(!node.sessions.is_started(&old), "its record is gone");
}

/// Waits until somebody lets it.
pub(super) struct Hang(pub(super) Gate);

impl Handle<Hang> for Ledger {
    type Reply = ();
    async fn handle(&mut self, Hang(gate): Hang, cx: &mut Context<Self>) {
        cx.unchanged();
        gate.pass().await;
    }
}

#[tokio::test]
async fn a_handler_that_began_behind_a_write_can_be_cut_off() {
    let (a, id) = Node::started().await;
    let b = a.again();
    b.sessions.call(&id, Total).await.unwrap();
    a.sessions.call(&id, Add(1)).await.unwrap();
    // A write that conflicts, so that the process looks at the store; and behind that, a handler that hangs.
    let commit = b.store.gate("commit");
    let add = b.add(&id, 10);
    commit.reached().await;
    let load = b.store.gate("loaded");
    b.store.ungate("commit");
    load.reached().await;
    // The load of the write itself, or of the way back: a message to a session at work waits.
    others_work().await;
    let hang = Gate::new();
    b.sessions.cast(&id, Hang(hang.clone())).unwrap();
    b.store.ungate("loaded");
    hang.reached().await;
    let mut monitor = b.sessions.monitor(&id).unwrap();
    b.sessions.kill(&id).unwrap();
    others_work().await;
    assert!(monitor.reason().is_some(), "it is cut off");
    monitor.ended().await;
    let _ = add.await;
}

/// Waits, and panics then.
struct HangAndBoom(Gate);

impl Handle<HangAndBoom> for Ledger {
    type Reply = ();
    async fn handle(&mut self, HangAndBoom(gate): HangAndBoom, _: &mut Context<Self>) {
        gate.pass().await;
        panic!("as told");
    }
}

impl Handle<HangAndBoom> for super::behind::Notes {
    type Reply = ();
    async fn handle(&mut self, HangAndBoom(gate): HangAndBoom, _: &mut Context<Self>) {
        gate.pass().await;
        panic!("as told");
    }
}

/// The panic takes along what waits, and with it the news that a write is over.
#[tokio::test]
async fn after_a_panic_behind_a_write_a_process_still_hears_of_other_nodes() {
    let (a, id) = Node::started().await;
    let b = a.again();
    let hang = Gate::new();
    let (writing, answer) = a.add_unanswered(&id, 1).await;
    a.sessions.cast(&id, HangAndBoom(hang.clone())).unwrap();
    hang.reached().await;
    answer.open();
    assert_eq!(writing.await.unwrap(), Ok(1));
    others_work().await;
    hang.open();
    while a.sessions.call(&id, Total).await.ok() != Some(1) {
        tokio::task::yield_now().await;
    }
    assert_eq!(b.sessions.call(&id, Add(10)).await.unwrap(), 11);
    a.comes_to(&id, 11).await;
}

/// Its own write, which took effect and whose answer was lost, is not taken for another node's.
#[tokio::test]
async fn after_a_panic_behind_a_write_whose_answer_was_lost_nothing_that_is_written_later_is_lost() {
    let node = Node::<super::behind::Notes>::new();
    let (id, hang) = (id("a"), Gate::new());
    // Else it would look for itself.
    node.store.mute.store(true, SeqCst);
    node.sessions.start(&id).await.unwrap();
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 1);
    others_work().await;
    let answer = node.store.gate("committed");
    node.store.fail("committed", 1);
    node.clock.advance(MINUTE);
    answer.reached().await;
    node.store.ungate_later("committed");
    node.sessions.cast(&id, HangAndBoom(hang.clone())).unwrap();
    hang.reached().await;
    answer.open();
    others_work().await;
    hang.open();
    others_work().await;
    assert_eq!(
        node.sessions.call(&id, Add(5)).await.unwrap(),
        5,
        "as it was last durable for certain"
    );
    others_work().await;
    node.clock.advance(MINUTE);
    others_work().await;
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"count":5}"#);
}

#[tokio::test]
async fn a_store_that_panics_is_an_error_of_the_call_and_no_more() {
    let (node, id) = Node::started().await;
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 1);
    node.store.panic_at("commit");
    let (first, second) = (node.add(&id, 10), node.add(&id, 100));
    assert_eq!(first.await.expect("no panic reaches the caller"), Err("not_saved"));
    second.await.expect("nor that of the next").unwrap_err();
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 2);
    // Also on the way back after a write that failed.
    node.store.fail("commit", 1);
    node.store.panic_at("load");
    assert!(node.sessions.call(&id, Add(1)).await.is_err());
    while node.sessions.call(&id, Add(1)).await.is_err() {}
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"sum":3}"#);
}

#[derive(Default, Serialize, Deserialize)]
struct Fragile {
    sum: u64,
}

impl Process for Fragile {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("fragile", 1));

    fn snapshot_taken(&mut self) {
        assert!(self.sum != 13, "as told");
    }
}

impl Handle<Add> for Fragile {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.sum
    }
}

#[tokio::test]
async fn a_panic_when_the_snapshot_was_taken_is_an_error_of_the_call_and_no_more() {
    let node = Node::<Fragile>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 1);
    let call = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.call(&id, Add(12)).await.map_err(|error| error.kind()) })
    };
    assert_eq!(call.await.expect("no panic reaches the caller"), Err("not_saved"));
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 2);
}

#[derive(Default, Serialize, Deserialize)]
struct Notes {
    count: u64,
}

impl Process for Notes {
    const DURABILITY: Durability<Self> = Durability::write_behind(Schema::json("notes", 1), Duration::from_secs(120));
}

impl Handle<Add> for Notes {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.count += n;
        self.count
    }
}

#[tokio::test]
async fn a_process_whose_state_can_not_be_saved_does_not_fall_asleep() {
    let node = Node::<Notes>::with(|builder| builder.sleep_after(MINUTE));
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    node.sessions.call(&id, Add(5)).await.unwrap();
    node.store.fail("commit", 1);
    node.clock.advance(MINUTE);
    node.sessions.expire_now().await;
    others_work().await;
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 6);
}

#[tokio::test]
async fn a_write_behind_that_succeeds_after_a_failure_is_not_repeated() {
    let node = Node::<Notes>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    node.sessions.call(&id, Add(5)).await.unwrap();
    others_work().await;
    node.store.fail("commit", 1);
    for _ in 0..2 {
        node.clock.advance(2 * MINUTE);
        others_work().await;
    }
    assert_eq!(node.stored(&id).await.unwrap(), r#"{"count":5}"#);
    let commits = node.store.commits.load(SeqCst);
    for _ in 0..3 {
        node.clock.advance(MINUTE);
        others_work().await;
    }
    assert_eq!(node.store.commits.load(SeqCst), commits);
}

#[tokio::test]
async fn the_deadline_of_a_call_covers_the_way_back_from_sleep() {
    let (node, id) = Node::started().await;
    let next = node.again();
    let gate = next.store.gate("load");
    let (sessions, other) = (next.sessions.clone(), id.clone());
    let hasty = tokio::spawn(async move {
        let within = Duration::from_millis(500);
        let outcome = sessions.call_within(&other, Total, within).await;
        outcome.map_err(|error| error.kind())
    });
    gate.reached().await;
    others_work().await;
    next.clock.advance(Duration::from_secs(1));
    others_work().await;
    let is_over = hasty.is_finished();
    next.store.ungate("load");
    assert!(is_over, "its time was up");
    assert_eq!(hasty.await.unwrap(), Err("timeout"));
}

#[derive(Default, Serialize, Deserialize)]
struct Desk {
    served: u64,
    #[serde(skip)]
    waiting: Vec<ReplySender<u64>>,
}

impl Process for Desk {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("desk", 1));
}

struct Wait;

impl Handle<Wait> for Desk {
    type Reply = Deferred<u64>;
    async fn handle(&mut self, _: Wait, cx: &mut Context<Self>) -> Deferred<u64> {
        cx.unchanged();
        let (sender, reply) = cx.defer_reply();
        self.waiting.push(sender);
        reply
    }
}

struct Serve;

impl Handle<Serve> for Desk {
    type Reply = ();
    async fn handle(&mut self, _: Serve, _: &mut Context<Self>) {
        self.served += 1;
        for waiting in self.waiting.drain(..) {
            waiting.send(self.served);
        }
    }
}

#[tokio::test]
async fn a_deferred_reply_waits_for_the_state_that_it_reflects() {
    let node = Node::<Desk>::new();
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    let wait = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.call_deferred(&id, Wait).await.map_err(|error| error.kind()) })
    };
    others_work().await;
    let gate = node.store.gate("commit");
    node.sessions.cast(&id, Serve).unwrap();
    gate.reached().await;
    others_work().await;
    let is_out = wait.is_finished();
    node.store.ungate("commit");
    assert!(!is_out, "the store has no such state yet");
    assert_eq!(wait.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn a_cast_to_a_session_that_is_falling_asleep_is_handled() {
    let node = Node::<Notes>::with(|builder| builder.sleep_after(MINUTE));
    let id = id("a");
    node.sessions.start(&id).await.unwrap();
    node.sessions.call(&id, Add(5)).await.unwrap();
    node.clock.advance(MINUTE);
    let gate = node.store.gate("commit");
    node.sessions.expire_now().await;
    gate.reached().await;
    let cast = node.sessions.cast(&id, Add(1)).map_err(|error| error.kind());
    node.store.ungate("commit");
    assert_eq!(cast, Ok(()));
}

#[tokio::test]
async fn a_logout_that_the_store_does_not_do_is_an_error() {
    struct Leave;
    impl Handle<Leave> for Ledger {
        type Reply = ();
        async fn handle(&mut self, _: Leave, cx: &mut Context<Self>) {
            cx.unchanged();
            cx.stop(EndReason::Stopped);
        }
    }
    let (node, id) = Node::started().await;
    node.store.fail("commit", 1);
    assert_eq!(node.sessions.call(&id, Leave).await.unwrap_err().kind(), "not_saved");
    assert!(node.sessions.exists(&id).await.unwrap(), "it can be tried again");
    node.sessions.call(&id, Leave).await.unwrap();
    assert!(node.record(&id).await.is_none());
}

#[tokio::test]
async fn a_killed_session_is_not_started_from_what_is_being_deleted() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    let gate = node.store.gate("commit");
    node.sessions.kill(&id).unwrap();
    gate.reached().await;
    let start = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.start_with(&id, New).await })
    };
    others_work().await;
    assert!(!start.is_finished());
    node.store.ungate("commit");
    assert!(start.await.unwrap().unwrap());
    assert_eq!(node.sessions.call(&id, Total).await.unwrap(), 0);
    assert!(node.record(&id).await.is_some());
}
