//! Calls and casts: order, mailbox, deadline, types.

use std::{sync::Arc, time::Duration};

use session_process::{CallError, CastError, Process, SessionId};
use testkit::Gate;

use crate::support::*;

#[derive(Default)]
struct Other;
impl Process for Other {}

impl session_process::Handle<Add> for Other {
    type Reply = u64;

    async fn handle(&mut self, Add(n): Add, _: &mut session_process::Context<Self>) -> u64 {
        n
    }
}

#[tokio::test]
async fn a_message_for_another_process_type_is_a_clear_error_and_comes_back() {
    let sessions = counters();
    sessions.start(&id("a")).await.unwrap();
    let error = sessions.of::<Other>().call(&id("a"), Add(7)).await.unwrap_err();
    assert!(
        error.to_string().contains("Counter, not ") && error.to_string().contains("Other"),
        "{error}"
    );
    assert_eq!(error.into_message().unwrap().0, 7);
    let error = sessions.of::<Other>().cast(&id("a"), Add(8)).unwrap_err();
    assert!(matches!(error, CastError::WrongProcess { .. }));
    assert_eq!(error.into_message().0, 8);
    assert!(sessions.of::<Other>().start(&id("a")).await.is_err());
    assert_eq!(
        sessions.call(&id("a"), Add(1)).await.unwrap(),
        1,
        "the session is unharmed"
    );
}

#[tokio::test]
async fn several_process_types_share_one_engine() {
    let sessions = counters();
    sessions.start(&id("a")).await.unwrap();
    sessions.of::<Other>().start(&id("b")).await.unwrap();
    assert_eq!(sessions.of::<Other>().call(&id("b"), Add(3)).await.unwrap(), 3);
    assert_eq!(sessions.stats().sessions, 2);
}

#[tokio::test]
async fn a_message_for_nobody_comes_back() {
    let sessions = counters();
    let error = sessions.call(&id("a"), Add(7)).await.unwrap_err();
    assert!(matches!(error, CallError::NotStarted { .. }));
    assert_eq!(error.into_message().unwrap().0, 7);
    assert_eq!(sessions.cast(&id("a"), Add(8)).unwrap_err().into_message().0, 8);
}

#[tokio::test]
async fn a_full_mailbox_gives_the_message_back() {
    let (sessions, _clock) = with_clock::<Counter>(|builder| builder.mailbox_capacity(2));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    sessions.cast(&a, AddAt(gate.clone(), 1)).unwrap();
    gate.reached().await;
    sessions.cast(&a, Add(2)).unwrap();
    sessions.cast(&a, Add(3)).unwrap();
    let error = sessions.cast(&a, Add(4)).unwrap_err();
    assert!(matches!(error, CastError::MailboxFull { capacity: 2, .. }));
    assert_eq!(error.into_message().0, 4);
    let error = sessions.call(&a, Add(5)).await.unwrap_err();
    assert_eq!(error.into_message().unwrap().0, 5);
    gate.open();
    until(|| sessions.session_stats(&a).unwrap().waiting == 0).await;
    assert_eq!(sessions.call(&a, Log).await.unwrap(), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_of_one_sender_are_handled_in_the_order_it_sent_them() {
    const SENDERS: u64 = 8;
    const EACH: u64 = 2_000;
    let sessions = counters();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let senders = (0..SENDERS).map(|sender| {
        let (sessions, a) = (sessions.clone(), a.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                let mut message = Add(sender * EACH + n);
                // Casts and calls mixed; a full mailbox gives the message back, to be sent again.
                loop {
                    if n % 7 == 0 {
                        sessions.call(&a, message).await.unwrap();
                        break;
                    }
                    match sessions.cast(&a, message) {
                        Ok(()) => break,
                        Err(error) => message = error.into_message(),
                    }
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let log = sessions.call(&a, Log).await.unwrap();
    assert_eq!(log.len() as u64, SENDERS * EACH, "none lost, none twice");
    for sender in 0..SENDERS {
        let mine: Vec<u64> = log.iter().copied().filter(|n| n / EACH == sender).collect();
        assert!(mine.is_sorted(), "sender {sender} was overtaken by itself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_message_at_a_time_even_when_handlers_wait() {
    let sessions = counters();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    gate.open_for_all();
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let (sessions, a, gate) = (sessions.clone(), a.clone(), gate.clone());
            tokio::spawn(async move { sessions.call(&a, AddAt(gate, 1)).await.unwrap() })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let log = sessions.call(&a, Log).await.unwrap();
    assert_eq!(log, [0, 1].repeat(64), "each ended before the next began");
}

#[tokio::test]
async fn the_deadline_covers_waiting_and_gives_back_what_nobody_began() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.call_timeout(Duration::from_secs(15)));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    let (at_work, waiting, ()) = tokio::join!(
        sessions.call(&a, AddAt(gate.clone(), 1)),
        sessions.call(&a, Add(2)),
        async {
            gate.reached().await;
            until(|| sessions.session_stats(&a).unwrap().waiting == 1).await;
            clock.advance(Duration::from_secs(15));
        }
    );
    let at_work = at_work.unwrap_err();
    assert!(matches!(at_work, CallError::Timeout { message: None, .. }), "{at_work}");
    let CallError::Timeout {
        message: Some(Add(2)),
        within,
        ..
    } = waiting.unwrap_err()
    else {
        panic!("it was never begun")
    };
    assert_eq!(within, Duration::from_secs(15));
    gate.open();
    assert_eq!(
        sessions.call(&a, Log).await.unwrap(),
        [0, 1],
        "one went on to its end, the other never began"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_does_not_starve_the_runtime() {
    let sessions = session_process::Sessions::<Counter>::builder()
        .mailbox_capacity(1_000_000)
        .build()
        .unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    sessions.cast(&a, AddAt(gate.clone(), 0)).unwrap();
    gate.reached().await;
    for _ in 0..200_000 {
        sessions.cast(&a, Add(1)).unwrap();
    }
    // Both threads are given something to starve: tasks that must have their turn while the queue is worked off.
    let turns: Vec<_> = (0..8)
        .map(|_| {
            let sessions = sessions.clone();
            tokio::spawn(async move {
                let mut turns = 0u64;
                while sessions.session_stats(&id("a")).unwrap().waiting > 0 {
                    turns += 1;
                    tokio::task::yield_now().await;
                }
                turns
            })
        })
        .collect();
    gate.open();
    let mut all = 0;
    for turn in turns {
        all += turn.await.unwrap();
    }
    assert!(all > 1_000, "others had only {all} turns during 200,000 messages");
    assert_eq!(sessions.call(&a, Add(0)).await.unwrap(), 200_000);
}

#[tokio::test]
async fn a_caller_whose_calls_end_in_place_still_yields() {
    let sessions = counters();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let other = {
        let done = Arc::clone(&done);
        tokio::spawn(async move { done.store(true, std::sync::atomic::Ordering::Relaxed) })
    };
    let mut calls = 0;
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        sessions.call(&a, Add(1)).await.unwrap();
        calls += 1;
        assert!(calls < 10_000, "the only other task never had its turn");
    }
    other.await.unwrap();
}

#[test]
fn a_cast_from_outside_the_runtime_runs_on_the_engines() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sessions = runtime.block_on(async { counters() });
    let a = id("a");
    runtime.block_on(sessions.start(&a)).unwrap();
    struct Sleep;
    impl session_process::Handle<Sleep> for Counter {
        type Reply = ();
        async fn handle(&mut self, _: Sleep, _: &mut session_process::Context<Self>) {
            // Needs a runtime, which this thread is not in.
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.sum += 1;
        }
    }
    sessions.cast(&a, Sleep).unwrap();
    assert_eq!(runtime.block_on(sessions.call(&a, Add(0))).unwrap(), 1);
}

#[tokio::test]
async fn ids_that_are_malformed_never_reach_the_engine() {
    for bad in ["", " ", "a b", "a/b", "ä", "a\0", &"x".repeat(SessionId::MAX_LEN + 1)] {
        assert!(bad.parse::<SessionId>().is_err(), "{bad:?}");
    }
    assert!(SessionId::from_bytes(&[0xff, 0xfe]).is_err(), "not UTF-8");
    let longest = "x".repeat(SessionId::MAX_LEN);
    let sessions = counters();
    sessions.start(&id(&longest)).await.unwrap();
    assert!(sessions.is_started(&id(&longest)));
}

/// Holds the thread that handles it.
struct Block(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>);

impl session_process::Handle<Block> for Other {
    type Reply = ();

    async fn handle(&mut self, Block(begun, go_on): Block, _: &mut session_process::Context<Self>) {
        begun.send(()).unwrap();
        go_on.recv().unwrap();
    }
}

struct Tell(std::sync::mpsc::Sender<u64>, u64);

impl session_process::Handle<Tell> for Other {
    type Reply = ();

    async fn handle(&mut self, Tell(told, n): Tell, _: &mut session_process::Context<Self>) {
        told.send(n).unwrap();
    }
}

/// Where senders keep all threads busy, a task would come too late: until then all that is sent would have to queue.
#[tokio::test]
async fn what_queued_behind_a_busy_sender_is_handled_by_it_and_in_order() {
    let sessions = session_process::Sessions::<Other>::builder().build().unwrap();
    sessions.start(&id("a")).await.unwrap();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel();
    let (told, tells) = std::sync::mpsc::channel();
    let (away, runtime) = (sessions.clone(), tokio::runtime::Handle::current());
    let busy = std::thread::spawn(move || {
        let _in = runtime.enter();
        away.cast(&id("a"), Block(begun, wait)).unwrap();
    });
    has_begun.recv().unwrap();
    for n in 0..3 {
        sessions.cast(&id("a"), Tell(told.clone(), n)).unwrap();
    }
    assert!(tells.try_recv().is_err(), "one message at a time");
    go_on.send(()).unwrap();
    busy.join().unwrap();
    // This runtime has one thread, and we have not given it up: no task has run.
    assert_eq!(tells.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
}
