//! Until a session has one process in the whole cluster, two nodes may each run one: nothing is overwritten.

use std::sync::atomic::Ordering::SeqCst;

use session_process::{
    CallError, Event, SaveError,
    store::{Notice, Version},
};

use testkit::Gate;

use super::{behind::Notes, broken::Hang, *};

#[tokio::test]
async fn of_two_nodes_that_run_one_session_the_later_writer_gives_way_and_repeats() {
    let (a, id) = Node::started().await;
    let b = a.again();
    // As if it came in the very next moment.
    a.store.mute.store(true, SeqCst);
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    assert_eq!(a.sessions.call(&id, Add(1)).await.unwrap(), 1);
    let error = b.sessions.call(&id, Add(10)).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::NotSaved {
                source: SaveError::Conflict,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        b.sessions.call(&id, Total).await.unwrap(),
        1,
        "it has taken over the other's state"
    );
    assert_eq!(b.sessions.call(&id, Add(10)).await.unwrap(), 11);
}

#[tokio::test]
async fn two_nodes_that_repeat_lose_no_change() {
    let (a, id) = Node::started().await;
    let b = a.again();
    let work = |node: &Node| {
        let (sessions, id) = (node.sessions.clone(), id.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                while let Err(error) = sessions.call(&id, Add(1)).await {
                    assert_eq!(error.kind(), "not_saved", "{error}");
                    tokio::task::yield_now().await;
                }
            }
        })
    };
    let both = [work(&a), work(&b)];
    for work in both {
        work.await.unwrap();
    }
    assert_eq!(a.stored(&id).await.unwrap(), r#"{"sum":100}"#);
}

#[tokio::test]
async fn a_process_takes_over_what_another_node_has_written() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    for sum in 1..=20 {
        let (writes, reads) = if sum % 2 == 0 { (&a, &b) } else { (&b, &a) };
        while writes.sessions.call(&id, Add(1)).await.is_err() {}
        reads.comes_to(&id, sum).await;
    }
    assert_eq!(
        a.runs.hooks.load(SeqCst) + b.runs.hooks.load(SeqCst),
        0,
        "neither has ended"
    );
}

#[tokio::test]
async fn what_another_node_writes_while_the_answer_to_a_write_of_ones_own_is_under_way_is_taken_over() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    let (writing, answer) = a.add_unanswered(&id, 1).await;
    b.comes_to(&id, 1).await;
    assert_eq!(b.sessions.call(&id, Add(10)).await.unwrap(), 11);
    // The first node hears of it, and it will not be told again.
    others_work().await;
    answer.open();
    assert_eq!(writing.await.unwrap(), Ok(1));
    a.comes_to(&id, 11).await;
}

/// The same where the notice is lost, and only that is heard.
#[tokio::test]
async fn what_is_missed_while_the_answer_to_a_write_of_ones_own_is_under_way_is_looked_at_then() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    let (writing, answer) = a.add_unanswered(&id, 1).await;
    b.comes_to(&id, 1).await;
    a.store.mute.store(true, SeqCst);
    assert_eq!(b.sessions.call(&id, Add(10)).await.unwrap(), 11);
    others_work().await;
    a.store.mute.store(false, SeqCst);
    a.store.say(Notice::Lagged);
    others_work().await;
    answer.open();
    assert_eq!(writing.await.unwrap(), Ok(1));
    a.comes_to(&id, 11).await;
}

/// A handler that changes nothing after all leaves nothing to write, and so nothing that would meet a conflict.
#[tokio::test]
async fn what_another_node_writes_before_a_change_that_is_none_is_taken_over() {
    let a = Node::<Notes>::new();
    let (b, id) = (a.again(), id("a"));
    a.sessions.start(&id).await.unwrap();
    assert_eq!(b.sessions.call(&id, Add(5)).await.unwrap(), 5);
    others_work().await;
    a.clock.advance(MINUTE / 2);
    assert_eq!(a.sessions.call(&id, Add(0)).await.unwrap(), 0);
    others_work().await;
    a.clock.advance(MINUTE / 2);
    others_work().await;
    assert_eq!(a.stored(&id).await.unwrap(), r#"{"count":5}"#);
    a.clock.advance(MINUTE / 2);
    others_work().await;
    assert_eq!(a.sessions.call(&id, Add(0)).await.unwrap(), 5);
}

/// However much is told of a session that is at work, it looks once.
#[tokio::test]
async fn many_notices_are_one_look() {
    let (a, id) = Node::started().await;
    let b = a.again();
    let hang = Gate::new();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    b.sessions.cast(&id, Hang(hang.clone())).unwrap();
    hang.reached().await;
    for sum in 1..=50 {
        assert_eq!(a.sessions.call(&id, Add(1)).await.unwrap(), sum);
    }
    others_work().await;
    let loads = a.store.loads.load(SeqCst);
    hang.open();
    b.comes_to(&id, 50).await;
    others_work().await;
    assert_eq!(a.store.loads.load(SeqCst) - loads, 1);
}

#[tokio::test]
async fn after_lost_notices_a_process_looks_for_itself() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    a.store.mute.store(true, SeqCst);
    a.sessions.call(&id, Add(5)).await.unwrap();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    a.store.mute.store(false, SeqCst);
    a.store.say(Notice::Lagged);
    b.comes_to(&id, 5).await;
}

#[tokio::test]
async fn a_change_of_its_own_or_of_an_attribute_does_not_disturb_a_process() {
    let (node, id) = Node::started().await;
    node.sessions.call(&id, Add(1)).await.unwrap();
    let loads = node.store.loads.load(SeqCst);
    for sum in 2..=50 {
        assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), sum);
    }
    assert_eq!(node.store.loads.load(SeqCst), loads, "it knows its own writes");
    node.records.set_label(&id, Some("phone")).await.unwrap();
    assert_eq!(node.sessions.call(&id, Add(1)).await.unwrap(), 51);
}

/// What it can't load is not served: neither old nor made up.
#[tokio::test]
async fn a_process_that_is_behind_and_cannot_look_is_not_served_as_it_was() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    a.store.fail("load", usize::MAX);
    a.sessions.call(&id, Add(5)).await.unwrap();
    while b.sessions.call(&id, Total).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(b.sessions.call(&id, Total).await.unwrap_err().kind(), "not_loaded");
    a.store.fail("load", 0);
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 5);
}

#[tokio::test]
async fn a_process_that_is_idle_here_ends_no_session_that_is_used_elsewhere() {
    let (a, id) = Node::started().await;
    let b = a.again();
    for _ in 0..4 {
        a.clock.advance(HOUR / 2);
        assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
        others_work().await;
        b.records.flush_accesses().await.unwrap();
        a.sessions.expire_now().await;
        others_work().await;
    }
    assert!(a.record(&id).await.is_some());
    assert_eq!(a.sessions.call(&id, Total).await.unwrap(), 0);
}

#[tokio::test]
async fn a_session_that_is_read_by_its_records_does_not_idle_out_by_its_process() {
    let (a, id) = Node::started().await;
    for _ in 0..4 {
        a.clock.advance(HOUR / 2);
        assert!(a.records.get(&id).await.unwrap().is_some());
        others_work().await;
        a.records.flush_accesses().await.unwrap();
        a.sessions.expire_now().await;
        others_work().await;
    }
    assert!(a.record(&id).await.is_some());
}

#[tokio::test]
async fn a_session_that_nobody_uses_idles_out_for_good() {
    let (a, id) = Node::started().await;
    a.clock.advance(HOUR);
    a.sessions.expire_now().await;
    others_work().await;
    assert!(a.record(&id).await.is_none());
}

/// Whose load balancer has moved to the other node is not signed out by the process that stayed behind.
#[tokio::test]
async fn a_session_that_idles_on_one_node_and_is_used_on_another_goes_on() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    let idle_timeout = HOUR;
    for _ in 0..3 {
        a.clock.advance(idle_timeout / 2);
        a.sessions.call(&id, Add(1)).await.unwrap();
        a.records.flush_accesses().await.unwrap();
        b.sessions.expire_now().await;
    }
    while b.sessions.is_started(&id) {
        tokio::task::yield_now().await;
    }
    assert_eq!(a.sessions.call(&id, Total).await.unwrap(), 3);
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 3, "it comes back here too");
    // Nor is it called gone there.
    a.clock.advance(idle_timeout / 2);
    a.sessions.call(&id, Add(1)).await.unwrap();
    a.records.flush_accesses().await.unwrap();
    a.clock.advance(idle_timeout / 2);
    assert!(b.sessions.refresh(&id).await.unwrap());
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 4);
    a.sessions.call(&id, Add(0)).await.unwrap();
    others_work().await;
    a.records.flush_accesses().await.unwrap();
    a.clock.advance(idle_timeout / 2);
    a.sessions.call(&id, Add(1)).await.unwrap();
    a.records.flush_accesses().await.unwrap();
    a.clock.advance(idle_timeout / 2);
    assert!(b.sessions.wake(&id).await.unwrap());
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 5);
    // And where nobody uses it, it ends on both.
    a.clock.advance(2 * idle_timeout);
    for node in [&a, &b] {
        node.sessions.expire_now().await;
        assert_eq!(node.sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
    }
}

/// What is written behind and not written yet, when another node changes the id.
async fn behind_on_two_nodes() -> (Node<Notes>, Node<Notes>, SessionId) {
    let a = Node::<Notes>::new();
    let (b, id) = (a.again(), id("a"));
    a.sessions.start(&id).await.unwrap();
    assert_eq!(b.sessions.call(&id, Add(0)).await.unwrap(), 0);
    (a, b, id)
}

#[tokio::test]
async fn what_happened_under_the_old_id_does_not_overwrite_what_another_node_does_under_the_new_one() {
    let (a, b, old) = behind_on_two_nodes().await;
    let mut told = a.sessions.events();
    let mut monitor = a.sessions.monitor(&old).unwrap();
    assert_eq!(a.sessions.call(&old, Add(1)).await.unwrap(), 1);
    let new = b.sessions.rotate(&old).await.unwrap();
    assert_eq!(b.sessions.call(&new, Add(100)).await.unwrap(), 100);
    assert_eq!(monitor.ended().await, EndReason::Asleep);
    others_work().await;
    assert_eq!(
        a.stored(&new).await.unwrap(),
        r#"{"count":0}"#,
        "nothing of the old id's"
    );
    a.clock.advance(MINUTE);
    while a.stored(&new).await.unwrap() != r#"{"count":100}"# {
        others_work().await;
    }
    let lost = told.find(|event| match event {
        Event::SaveFailed { error, .. } => Some(*error),
        _ => None,
    });
    assert_eq!(lost.await, Some("gone"), "it is told that it is lost");
}

/// A write that hangs doesn't keep the old id in use.
#[tokio::test]
async fn the_old_id_is_dead_at_once_also_while_a_write_hangs() {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    let gate = a.store.gate("commit");
    let call = a.add(&id, 1);
    gate.reached().await;
    a.store.say(Notice::Moved {
        key: SessionKey::of(&id),
        version: Version(u64::MAX),
        to: SessionKey::of(&SessionId::generate()),
    });
    others_work().await;
    assert!(!a.sessions.is_started(&id));
    assert!(a.sessions.cast(&id, Add(5)).is_err());
    a.store.ungate("commit");
    let _ = call.await.unwrap();
}

/// How a node comes to find that there is no record under a key any more, where it was told nothing.
#[derive(Debug, Clone, Copy)]
enum Finds {
    LostNotice,
    ItsOwnWrite,
    ItsOwnRotation,
    ItsOwnTimeout,
}

const ALL_FINDS: [Finds; 4] = [
    Finds::LostNotice,
    Finds::ItsOwnWrite,
    Finds::ItsOwnRotation,
    Finds::ItsOwnTimeout,
];

/// A session that runs on two nodes, `b` of which hears nothing of what `a` does.
async fn unheard() -> (Node, Node, SessionId) {
    let (a, id) = Node::started().await;
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Add(3)).await.unwrap(), 3);
    a.store.mute.store(true, SeqCst);
    b.clock.advance(HOUR / 2);
    (a, b, id)
}

impl Finds {
    async fn on(self, b: &Node, id: &SessionId) {
        match self {
            Self::LostNotice => {
                b.store.mute.store(false, SeqCst);
                b.store.say(Notice::Lagged);
            }
            Self::ItsOwnWrite => {
                let error = b.sessions.call(id, Add(5)).await.unwrap_err();
                assert_eq!(error.kind(), "not_saved");
            }
            Self::ItsOwnRotation => drop(b.sessions.rotate(id).await.unwrap_err()),
            Self::ItsOwnTimeout => {
                b.clock.advance(HOUR / 2);
                b.sessions.expire_now().await;
            }
        }
    }
}

#[tokio::test]
async fn a_session_that_is_over_and_nobody_said_so_ends_as_one_of_which_it_was_said() {
    for finds in ALL_FINDS {
        let (a, b, id) = unheard().await;
        let mut monitor = b.sessions.monitor(&id).unwrap();
        a.sessions.terminate(&id).await.unwrap();
        finds.on(&b, &id).await;
        let told = monitor.ended().await;
        match finds {
            Finds::ItsOwnTimeout => assert!(matches!(told, EndReason::Expired(_)), "{told:?}"),
            _ => assert_eq!(told, EndReason::Terminated, "{finds:?}"),
        }
        assert_eq!(b.runs.hooks.load(SeqCst), 1, "{finds:?}");
        assert_eq!(b.sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
    }
}

#[tokio::test]
async fn a_session_that_has_another_id_and_nobody_said_so_falls_asleep() {
    for finds in ALL_FINDS {
        let (a, b, id) = unheard().await;
        let mut monitor = b.sessions.monitor(&id).unwrap();
        // Twice: what is under its key, and what came from there, are both gone.
        let new = a.sessions.rotate(&id).await.unwrap();
        let new = a.sessions.rotate(&new).await.unwrap();
        assert_eq!(a.sessions.call(&new, Total).await.unwrap(), 3);
        others_work().await;
        a.records.flush_accesses().await.unwrap();
        finds.on(&b, &id).await;
        assert_eq!(monitor.ended().await, EndReason::Asleep, "{finds:?}");
        assert_eq!(b.runs.hooks.load(SeqCst), 0, "it goes on");
        assert_eq!(b.sessions.call(&id, Total).await.unwrap_err().kind(), "not_started");
        assert_eq!(b.sessions.call(&new, Total).await.unwrap(), 3);
    }
}

/// And where it came back from its record under a later key.
#[tokio::test]
async fn a_session_is_found_by_the_key_that_it_had_before_it_came_here() {
    let (a, first) = Node::started().await;
    let id = a.sessions.rotate(&first).await.unwrap();
    let b = a.again();
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 0);
    let mut monitor = b.sessions.monitor(&id).unwrap();
    a.store.mute.store(true, SeqCst);
    a.sessions.rotate(&id).await.unwrap();
    Finds::LostNotice.on(&b, &id).await;
    assert_eq!(monitor.ended().await, EndReason::Asleep);
}

/// Whether it has another id by now, or is over, is not known: whoever follows it is to ask.
#[tokio::test]
async fn where_the_store_can_not_say_what_became_of_a_session_it_falls_asleep() {
    for finds in [Finds::LostNotice, Finds::ItsOwnWrite, Finds::ItsOwnRotation] {
        let (a, b, id) = unheard().await;
        let mut monitor = b.sessions.monitor(&id).unwrap();
        a.sessions.terminate(&id).await.unwrap();
        b.store.fail("locate", 1);
        finds.on(&b, &id).await;
        assert_eq!(monitor.ended().await, EndReason::Asleep, "{finds:?}");
        assert_eq!(b.runs.hooks.load(SeqCst), 0, "{finds:?}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_end_of_a_session() {
    let (a, b, id) = unheard().await;
    b.store.fail("load", usize::MAX);
    Finds::LostNotice.on(&b, &id).await;
    others_work().await;
    b.store.fail("load", 0);
    assert_eq!(b.sessions.call(&id, Total).await.unwrap(), 3);
    assert!(a.sessions.is_started(&id));
}

/// A node that looks while a session begins must not take it for one that is gone.
#[tokio::test]
async fn a_session_that_has_no_record_yet_is_not_over() {
    let a = Node::<Ledger>::new();
    let (id, gate) = (id("a"), a.store.gate("commit"));
    let start = {
        let (sessions, id) = (a.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.start_with(&id, New).await.map(drop) })
    };
    gate.reached().await;
    a.store.say(Notice::Lagged);
    others_work().await;
    a.store.ungate("commit");
    start.await.unwrap().unwrap();
    assert_eq!(a.sessions.call(&id, Add(1)).await.unwrap(), 1);
}
