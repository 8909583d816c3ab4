//! Sessions that end, or get another id, in the midst of something that has to do with the store.

use session_process::{CallError, RotateError};
use testkit::Gate;
use tokio::task::JoinHandle;

use super::{broken::Hang, *};
use crate::support::poll_once;

/// A rotation in a task.
fn rotating(node: &Node, old: &SessionId, new: &SessionId) -> JoinHandle<Result<(), RotateError>> {
    let (sessions, old, new) = (node.sessions.clone(), old.clone(), new.clone());
    tokio::spawn(async move { sessions.rotate_to(&old, &new).await })
}

/// The record is where the rotation says.
async fn is_said(node: &Node, outcome: Result<(), RotateError>, old: &SessionId, new: &SessionId) {
    let (at_old, at_new) = (node.record(old).await.is_some(), node.record(new).await.is_some());
    assert!(
        outcome.is_ok() == at_new && outcome.is_err() == at_old,
        "{outcome:?}; the record: at the old id {at_old}, at the new id {at_new}"
    );
}

/// A call that changes the state after it has waited, in a task.
fn adding_slowly(node: &Node, id: &SessionId) -> JoinHandle<Result<u64, &'static str>> {
    let (sessions, id) = (node.sessions.clone(), id.clone());
    tokio::spawn(async move { sessions.call(&id, SlowAdd(10)).await.map_err(|error| error.kind()) })
}

/// The caller of a `terminate` (a browser that goes away) is gone in the moment between the store's answer and its own
/// turn. The record is deleted; the session must not be served any more.
#[tokio::test]
async fn a_terminate_that_is_dropped_when_the_record_is_gone_ends_the_session() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    let gate = node.store.gate("commit");
    let mut terminate = Box::pin(node.sessions.terminate(&id));
    // Polled by us, so that we choose when.
    for _ in 0..20 {
        let done = poll_once(terminate.as_mut()).await.is_ready();
        assert!(!done);
        tokio::task::yield_now().await;
    }
    gate.reached().await;
    node.store.ungate("commit");
    others_work().await;
    assert!(node.record(&id).await.is_none(), "deleted");
    drop(terminate);
    others_work().await;
    let served = node.sessions.call(&id, Total).await;
    assert!(
        !node.sessions.is_started(&id),
        "no record, and it serves {served:?}; exists: {:?}",
        node.sessions.exists(&id).await
    );
}

/// A rotation whose session falls asleep while the store moves its record.
#[tokio::test]
async fn a_rotation_whose_session_falls_asleep_meanwhile_says_where_it_is() {
    let node: Node = Node::with(|builder| builder.sleep_after(Duration::from_secs(1)));
    let (old, new) = (id("old"), id("new"));
    node.sessions.start_with(&old, New).await.unwrap();
    node.sessions.call(&old, Add(7)).await.unwrap();
    let gate = node.store.gate("commit");
    let rotate = rotating(&node, &old, &new);
    gate.reached().await;
    node.clock.advance(Duration::from_secs(1));
    for _ in 0..50 {
        node.sessions.expire_now().await;
        tokio::task::yield_now().await;
    }
    node.store.ungate("commit");
    let outcome = rotate.await.unwrap();
    others_work().await;
    is_said(&node, outcome, &old, &new).await;
}

/// The same in a shutdown.
#[tokio::test]
async fn a_rotation_in_a_shutdown_says_where_the_session_is() {
    let (node, old) = Node::started().await;
    let new = id("new");
    node.sessions.call(&old, Add(7)).await.unwrap();
    let gate = node.store.gate("commit");
    let rotate = rotating(&node, &old, &new);
    gate.reached().await;
    let shutdown = {
        let sessions = node.sessions.clone();
        tokio::spawn(async move { sessions.shutdown(MINUTE).await })
    };
    others_work().await;
    node.store.ungate("commit");
    let outcome = rotate.await.unwrap();
    let _ = shutdown.await.unwrap();
    is_said(&node, outcome, &old, &new).await;
}

/// The same where the process crashes for good meanwhile.
#[tokio::test]
async fn a_rotation_whose_session_crashes_for_good_meanwhile_says_where_it_is() {
    let (node, old) = Node::started().await;
    let new = id("new");
    node.sessions.call(&old, Add(7)).await.unwrap();
    for _ in 0..3 {
        node.sessions.call(&old, Boom).await.unwrap_err();
        others_work().await;
    }
    let gate = node.store.gate("commit");
    let rotate = rotating(&node, &old, &new);
    gate.reached().await;
    node.sessions.cast(&old, Boom).unwrap();
    others_work().await;
    node.store.ungate("commit");
    let outcome = rotate.await.unwrap();
    others_work().await;
    is_said(&node, outcome, &old, &new).await;
}

/// A write fails and the store can't say what it has, while a shutdown has what waits handled.
#[tokio::test]
async fn a_shutdown_behind_a_write_that_failed_handles_nothing_more() {
    let (node, id) = Node::started().await;
    let mut events = node.sessions.events();
    let gate = node.store.gate("commit");
    let add = node.add(&id, 1);
    gate.reached().await;
    let hang = Gate::new();
    let hangs = {
        let (sessions, id, hang) = (node.sessions.clone(), id.clone(), hang.clone());
        tokio::spawn(async move { sessions.call(&id, Hang(hang)).await.map_err(|error| error.kind()) })
    };
    hang.reached().await;
    node.store.fail("commit", usize::MAX);
    node.store.fail("load", usize::MAX);
    node.store.ungate("commit");
    others_work().await;
    // Behind the `Settle`.
    let (a, b) = (node.add(&id, 10), node.add(&id, 100));
    others_work().await;
    let shutdown = {
        let sessions = node.sessions.clone();
        tokio::spawn(async move { sessions.shutdown(MINUTE).await })
    };
    others_work().await;
    hang.open();
    others_work().await;
    node.clock.advance(2 * MINUTE);
    let report = shutdown.await.unwrap();
    for outcome in [add.await, a.await, b.await] {
        outcome.unwrap().unwrap_err();
    }
    let _ = hangs.await.unwrap();
    assert!(report.cut.is_empty());
    // All that there were: the engine is gone.
    drop(node);
    while let Ok(Some(event)) = events.recv().await {
        assert!(!matches!(*event, session_process::Event::Crashed { .. }), "{event:?}");
    }
}

/// A cast to a session that is just falling asleep. It lives on, so "not started" is not true.
#[tokio::test]
async fn a_cast_to_a_session_that_is_falling_asleep_is_not_told_that_there_is_none() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(7)).await.unwrap();
    let gate = node.store.gate("commit");
    let _add = node.add(&id, 1);
    gate.reached().await;
    // Another node has asked for it; it gives way: it falls asleep with a write on its way.
    let sleeps = {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.terminate_for(&id, EndReason::Asleep).await })
    };
    others_work().await;
    let cast = node.sessions.cast(&id, Add(100));
    node.store.ungate("commit");
    sleeps.await.unwrap().unwrap();
    others_work().await;
    let total = node.sessions.call(&id, Total).await;
    assert_eq!(cast.unwrap_err().kind(), "not_awake");
    assert_eq!(total.unwrap(), 8);
}

/// Killed while it comes back from the store.
#[tokio::test]
async fn kill_of_a_waking_session_leaves_no_record() {
    for round in 0..3 {
        let (node, id) = Node::started().await;
        node.sessions.terminate_for(&id, EndReason::Asleep).await.unwrap();
        assert_eq!(node.sessions.stats().sessions, 0);
        node.records.clear_cache();
        let gate = node.store.gate("load");
        let call = node.add(&id, 1);
        gate.reached().await;
        assert!(node.sessions.kill(&id).is_ok());
        others_work().await;
        node.store.ungate("load");
        let outcome = call.await.unwrap();
        others_work().await;
        assert!(node.record(&id).await.is_none(), "{round}: {outcome:?}");
        assert_eq!(node.sessions.stats().sessions, 0);
    }
}

/// Dropped at each of its polls, `terminate` either ends the session or leaves it whole: with its record.
#[tokio::test]
async fn a_terminate_that_is_dropped_anywhere_ends_the_session_or_leaves_it_whole() {
    for polls in 0..12 {
        let (node, id) = Node::started().await;
        node.sessions.call(&id, Add(7)).await.unwrap();
        let mut terminate = Box::pin(node.sessions.terminate(&id));
        for _ in 0..polls {
            let done = poll_once(terminate.as_mut()).await.is_ready();
            if done {
                break;
            }
            tokio::task::yield_now().await;
        }
        if polls % 2 == 1 {
            others_work().await;
        }
        drop(terminate);
        others_work().await;
        let (record, live) = (node.record(&id).await.is_some(), node.sessions.is_started(&id));
        assert_eq!(record, live, "after {polls} polls");
    }
}

/// After that the id must be usable again.
#[tokio::test]
async fn a_start_against_a_store_that_fails_at_any_point_can_be_repeated() {
    for point in ["load", "loaded", "commit", "committed", "locate"] {
        for times in 1..4 {
            let node = Node::<Ledger>::new();
            let id = id("a");
            node.store.fail(point, times);
            let first = node.sessions.start_with(&id, New).await;
            let mut last = Ok(false);
            for _ in 0..5 {
                last = node.sessions.start_with(&id, New).await;
                if last.is_ok() {
                    break;
                }
            }
            assert!(last.is_ok(), "{point} {times}: {first:?}, {last:?}");
            node.store.fail(point, 0);
            assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 1, "{point} {times}");
            assert_eq!(node.sessions.stats().sessions, 1);
            node.sessions.terminate(&id).await.unwrap();
            assert_eq!(node.sessions.stats().sessions, 0);
            assert!(node.record(&id).await.is_none());
        }
    }
}

/// Adds against a store that fails at each point: what was acknowledged is there, what was refused is not.
#[tokio::test]
async fn what_is_acknowledged_is_there_whatever_the_store_fails_at() {
    for point in ["load", "loaded", "commit", "committed", "locate"] {
        for times in 1..5 {
            for both in [false, true] {
                let (node, id) = Node::started().await;
                let mut acknowledged = 0;
                let mut open = 0;
                node.store.fail(point, times);
                if both {
                    node.store.fail("load", times);
                }
                for n in 0..8 {
                    match node.sessions.call(&id, Add(1 << (4 * n))).await {
                        Ok(_) => {
                            acknowledged += 1 << (4 * n);
                        }
                        Err(
                            CallError::NotSaved { .. }
                            | CallError::NotLoaded { .. }
                            | CallError::Crashed { .. }
                            | CallError::Ended { .. },
                        ) => open |= 1u64 << (4 * n),
                        Err(other) => panic!("{point} {times} {both}: {other:?}"),
                    }
                }
                others_work().await;
                node.store.fail(point, 0);
                node.store.fail("load", 0);
                let total = node.sessions.call(&id, Total).await.unwrap();
                assert_eq!(total & acknowledged, acknowledged, "{point} {times} {both}");
                assert_eq!(total & !(acknowledged | open), 0);
                let stored = node.stored(&id).await.unwrap();
                assert_eq!(stored, format!("{{\"sum\":{total}}}"));
                let again = node.again().sessions.call(&id, Total).await.unwrap();
                assert_eq!(again, total);
            }
        }
    }
}

/// "Put to sleep" for a session that sleeps already (the sweeper was quicker): its record stays.
#[tokio::test]
async fn a_session_that_sleeps_can_be_put_to_sleep() {
    for reason in [EndReason::Asleep, EndReason::Shutdown, EndReason::Crashed] {
        let (node, id) = Node::started().await;
        node.sessions.call(&id, Add(7)).await.unwrap();
        let first = node.sessions.terminate_for(&id, reason).await;
        assert!(node.record(&id).await.is_some(), "{reason} keeps the record");
        let second = node.sessions.terminate_for(&id, reason).await;
        assert!(
            node.record(&id).await.is_some(),
            "{reason}: {first:?}, {second:?}: the record is gone"
        );
    }
}

/// Changes after it has waited.
struct SlowAdd(u64);
impl Handle<SlowAdd> for Ledger {
    type Reply = u64;
    async fn handle(&mut self, SlowAdd(n): SlowAdd, _: &mut Context<Self>) -> u64 {
        tokio::task::yield_now().await;
        self.sum += n;
        self.sum
    }
}

/// Killed while a reply waits for its write: the caller must hear of it, not wait for its deadline.
#[tokio::test]
async fn a_caller_whose_change_waits_for_a_write_hears_that_its_session_is_killed() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let _first = node.add(&id, 1);
    gate.reached().await;
    let second = adding_slowly(&node, &id);
    others_work().await;
    node.sessions.kill(&id).unwrap();
    others_work().await;
    node.store.ungate("commit");
    others_work().await;
    assert_eq!(node.sessions.stats().sessions, 0, "it is over");
    assert!(node.record(&id).await.is_none());
    assert!(
        second.is_finished(),
        "the session is over, its record is gone, and the caller waits for its deadline"
    );
}

/// The same where a shutdown cuts a handler off.
#[tokio::test]
async fn a_caller_whose_change_waits_for_a_write_hears_that_its_session_is_cut_off() {
    let (node, id) = Node::started().await;
    let gate = node.store.gate("commit");
    let first = node.add(&id, 1);
    gate.reached().await;
    let second = adding_slowly(&node, &id);
    others_work().await;
    let hang = Gate::new();
    node.sessions.cast(&id, Hang(hang.clone())).unwrap();
    hang.reached().await;
    let _ = node.sessions.shutdown(Duration::ZERO).await;
    node.store.ungate("commit");
    others_work().await;
    assert_eq!(node.sessions.stats().sessions, 0, "it is over");
    assert!(first.is_finished());
    assert!(
        second.is_finished(),
        "the session is over, and the caller waits for its deadline"
    );
}

/// "Sign out everywhere" in the moment when the store has moved the record of a session that gets a new id (a login on
/// another device, say), and its answer is on the way. Here, and by another node.
#[tokio::test]
async fn a_sign_out_while_the_answer_of_a_rotation_is_on_its_way_ends_the_session() {
    for by_another in [true, false] {
        let (node, old) = Node::started().await;
        node.sessions.call(&old, Add(7)).await.unwrap();
        let new = id("new");
        let gate = node.store.gate("committed");
        let rotate = rotating(&node, &old, &new);
        gate.reached().await;
        node.store.ungate_later("committed");
        let other = node.again();
        let records = if by_another { &other.records } else { &node.records };
        assert!(records.delete(&new).await.unwrap(), "it is at the new id");
        others_work().await;
        gate.open_for_all();
        let outcome = rotate.await.unwrap();
        others_work().await;
        others_work().await;
        let served = node.sessions.call(&new, Total).await.map_err(|error| error.kind());
        assert!(
            served.is_err(),
            "by another: {by_another}: rotated {outcome:?}; signed out, record: {:?}, and serves {served:?}",
            node.record(&new).await.is_some()
        );
    }
}

/// A rotation that waits while its session ends (logs out), and its id begins anew: the new session is another's.
#[tokio::test]
async fn a_rotation_leaves_a_session_alone_that_began_under_the_id_meanwhile() {
    let (node, a) = Node::started().await;
    node.sessions.call(&a, Add(7)).await.unwrap();
    let c = id("c");
    let gate = node.store.gate("commit");
    let terminate = {
        let (sessions, a) = (node.sessions.clone(), a.clone());
        tokio::spawn(async move { sessions.terminate(&a).await })
    };
    gate.reached().await;
    let rotate = rotating(&node, &a, &c);
    others_work().await;
    let start = {
        let (sessions, a) = (node.sessions.clone(), a.clone());
        tokio::spawn(async move { sessions.start_with(&a, New).await })
    };
    others_work().await;
    node.store.ungate("commit");
    let (t, r, s) = (terminate.await.unwrap(), rotate.await.unwrap(), start.await.unwrap());
    others_work().await;
    let text = format!("terminate {t:?}, rotate {r:?}, start {s:?}");
    for id in [&a, &c] {
        assert_eq!(node.sessions.is_started(id), node.record(id).await.is_some(), "{text}");
    }
}

/// Cut off in its end, which waits for a write: the caller of that change must hear of it.
#[tokio::test]
async fn a_caller_hears_that_its_session_is_cut_off_in_its_end() {
    for by_kill in [false, true] {
        let (node, id) = Node::started().await;
        let gate = node.store.gate("commit");
        let add = node.add(&id, 1);
        gate.reached().await;
        if by_kill {
            let (sessions, asked) = (node.sessions.clone(), id.clone());
            let ends = tokio::spawn(async move { sessions.terminate_for(&asked, EndReason::Asleep).await });
            others_work().await;
            assert!(!ends.is_finished());
            node.sessions.kill(&id).unwrap();
            others_work().await;
        } else {
            let report = node.sessions.shutdown(Duration::ZERO).await;
            assert_eq!(report.cut.len(), 1);
        }
        node.store.fail("commit", usize::MAX);
        node.store.ungate("commit");
        others_work().await;
        assert_eq!(node.sessions.stats().sessions, 0, "it is over");
        assert!(
            add.is_finished(),
            "by kill: {by_kill}: it is over, and the caller waits for its deadline"
        );
    }
}
