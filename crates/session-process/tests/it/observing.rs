//! Observers see the state, followers what becomes of a session.

use std::sync::{Arc, Mutex, Weak};

use session_process::{EndReason, Follower, Observer, Process, SessionId, Sessions};
use testkit::Gate;
use tokio::sync::mpsc;

use crate::{durable, support::*};

/// Tells what `of` makes of the process; panics where that is 13, and has enough at 99.
struct Tell<P> {
    of: fn(&P) -> u64,
    seen: u64,
    to: mpsc::UnboundedSender<u64>,
}

impl<P: 'static> Observer<P> for Tell<P> {
    fn look(&mut self, process: &P) {
        self.seen = (self.of)(process);
        assert_ne!(self.seen, 13, "as told");
    }

    fn publish(&mut self) {
        self.to.send(self.seen).unwrap();
    }

    fn is_done(&self) -> bool {
        self.seen == 99
    }
}

async fn observe<P: Process>(
    sessions: &Sessions<P>,
    id: &SessionId,
    of: fn(&P) -> u64,
) -> mpsc::UnboundedReceiver<u64> {
    let (to, told) = mpsc::unbounded_channel();
    sessions.observe(id, Tell { of, seen: 0, to }).await.unwrap();
    told
}

fn all(told: &mut mpsc::UnboundedReceiver<u64>) -> Vec<u64> {
    std::iter::from_fn(|| told.try_recv().ok()).collect()
}

#[tokio::test]
async fn an_observer_sees_every_state_once_and_in_order() {
    let (sessions, a) = (counters(), id("a"));
    sessions.start(&a).await.unwrap();
    sessions.call(&a, Add(5)).await.unwrap();
    let mut told = observe(&sessions, &a, |counter: &Counter| counter.sum).await;
    for n in 1..=3 {
        sessions.call(&a, Add(n)).await.unwrap();
    }
    assert_eq!(all(&mut told), [5, 6, 8, 11]);
    let gate = Gate::new();
    let call = {
        let (sessions, a, gate) = (sessions.clone(), a.clone(), gate.clone());
        tokio::spawn(async move { sessions.call(&a, AddAt(gate, 20)).await })
    };
    gate.reached().await;
    sessions.cast(&a, Add(1)).unwrap();
    assert!(all(&mut told).is_empty(), "half a handler shows nothing");
    gate.open_for_all();
    call.await.unwrap().unwrap();
    assert_eq!(told.recv().await, Some(31));
    assert_eq!(told.recv().await, Some(32));
}

#[tokio::test]
async fn an_observer_stays_through_a_restart_and_sees_the_new_state() {
    let (sessions, a) = (counters(), id("a"));
    sessions.start(&a).await.unwrap();
    let mut told = observe(&sessions, &a, |counter: &Counter| counter.sum).await;
    sessions.call(&a, Add(5)).await.unwrap();
    sessions.call(&a, Panic).await.unwrap_err();
    sessions.call(&a, Add(2)).await.unwrap();
    assert_eq!(all(&mut told), [0, 5, 0, 2]);
}

#[tokio::test]
async fn an_observer_that_panics_goes_alone_and_one_that_is_done_goes() {
    let (sessions, a) = (counters(), id("a"));
    sessions.start(&a).await.unwrap();
    let mut first = observe(&sessions, &a, |counter: &Counter| counter.sum).await;
    let mut other = observe(&sessions, &a, |counter: &Counter| counter.sum + 1).await;
    assert_eq!(sessions.call(&a, Add(13)).await.unwrap(), 13, "nobody notices");
    sessions.call(&a, Add(85)).await.unwrap();
    sessions.call(&a, Add(1)).await.unwrap();
    assert_eq!(all(&mut first), [0]);
    assert!(first.is_closed());
    assert_eq!(all(&mut other), [1, 14, 99]);
    assert!(other.is_closed(), "done");
}

#[tokio::test]
async fn being_observed_is_no_use_and_an_expired_session_is_not() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    clock.advance(HOUR / 2);
    let _told = observe(&sessions, &a, |counter: &Counter| counter.sum).await;
    assert_eq!(sessions.session_stats(&a).unwrap().idle_for, HOUR / 2);
    clock.advance(HOUR / 2);
    let (to, _told) = mpsc::unbounded_channel();
    let late = Tell {
        of: |counter: &Counter| counter.sum,
        seen: 0,
        to,
    };
    assert_eq!(sessions.observe(&a, late).await.unwrap_err().kind(), "not_started");
}

#[tokio::test]
async fn what_is_not_durable_is_shown_to_nobody() {
    let (node, a) = durable::Node::started().await;
    let mut told = observe(&node.sessions, &a, |ledger: &durable::Ledger| ledger.sum).await;
    assert_eq!(all(&mut told), [0]);
    let gate = node.store.gate("commit");
    let first = node.add(&a, 1);
    gate.reached().await;
    let second = node.add(&a, 1);
    node.is_at(&a, 2).await;
    // One who comes meanwhile sees it no sooner.
    let mut late = observe(&node.sessions, &a, |ledger: &durable::Ledger| ledger.sum).await;
    assert_eq!((all(&mut told), all(&mut late)), (vec![], vec![]));
    node.store.ungate("commit");
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!((told.recv().await, told.recv().await), (Some(1), Some(2)));
    assert_eq!(late.recv().await, Some(2));
}

#[tokio::test]
async fn a_state_that_could_not_be_saved_is_never_shown() {
    let (node, a) = durable::Node::started().await;
    let mut told = observe(&node.sessions, &a, |ledger: &durable::Ledger| ledger.sum).await;
    node.store.fail("commit", 1);
    node.add(&a, 1).await.unwrap().unwrap_err();
    node.add(&a, 5).await.unwrap().unwrap();
    for expected in [0, 0, 5] {
        assert_eq!(told.recv().await, Some(expected));
    }
}

#[tokio::test]
async fn observing_wakes_a_session_that_sleeps() {
    let (node, a) = durable::Node::started().await;
    node.add(&a, 3).await.unwrap().unwrap();
    let again = node.again();
    let mut told = observe(&again.sessions, &a, |ledger: &durable::Ledger| ledger.sum).await;
    assert_eq!(all(&mut told), [3]);
    let missing = id("missing");
    let (to, _told) = mpsc::unbounded_channel();
    let none = Tell {
        of: |ledger: &durable::Ledger| ledger.sum,
        seen: 0,
        to,
    };
    let error = again.sessions.observe(&missing, none).await.unwrap_err();
    assert_eq!(error.kind(), "not_started");
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Follower for Heard {
    fn rotated(&self) {
        self.0.lock().unwrap().push("rotated".to_owned());
    }

    fn ended(&self, reason: EndReason) {
        self.0.lock().unwrap().push(reason.to_string());
    }
}

impl Heard {
    fn follow(sessions: &Sessions<Counter>, id: &SessionId) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        let follower: Weak<dyn Follower> = Arc::downgrade(&(Arc::clone(&heard) as Arc<dyn Follower>));
        sessions.follow(id, follower).unwrap();
        heard
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_follower_hears_of_a_new_id_and_of_the_end() {
    let (sessions, a) = (counters(), id("a"));
    sessions.start(&a).await.unwrap();
    let heard = Heard::follow(&sessions, &a);
    let b = sessions.rotate(&a).await.unwrap();
    assert_eq!(heard.all(), ["rotated"]);
    sessions.terminate_for(&b, EndReason::LoggedOut).await.unwrap();
    assert_eq!(heard.all(), ["rotated", "logged_out"]);
    let late: Weak<dyn Follower> = Arc::downgrade(&(heard as Arc<dyn Follower>));
    sessions.follow(&b, late).unwrap_err();
}

#[tokio::test]
async fn a_follower_hears_of_an_end_while_the_handler_hangs() {
    let (sessions, a) = (counters(), id("a"));
    sessions.start(&a).await.unwrap();
    let heard = Heard::follow(&sessions, &a);
    let gate = Gate::new();
    sessions.cast(&a, AddAt(gate.clone(), 1)).unwrap();
    gate.reached().await;
    let b = sessions.rotate(&a).await.unwrap();
    assert_eq!(heard.all(), ["rotated"], "at once");
    sessions.kill(&b).unwrap();
    until(|| heard.all().len() == 2).await;
    assert_eq!(heard.all()[1], "terminated");
}
