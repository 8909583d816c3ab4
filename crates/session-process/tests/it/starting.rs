//! Starts: one process for an id, whoever asks.

use std::sync::atomic::Ordering;

use session_process::{CallError, Context, Init, InitError, Process, Sessions, StartError};
use testkit::Gate;

use crate::support::*;

/// Arguments that look their session up when they are dropped: for ever, if that is under the registry's lock.
#[derive(Clone)]
struct LooksUp(Sessions<Looker>);

struct Looker;

impl Process for Looker {}

impl Init<LooksUp> for Looker {
    async fn init(_: LooksUp, _: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self)
    }
}

impl Drop for LooksUp {
    fn drop(&mut self) {
        for name in ["a", "b"] {
            let _ = self.0.is_started(&id(name));
        }
    }
}

#[tokio::test]
async fn arguments_that_are_not_needed_are_dropped_under_no_lock() {
    let sessions = Sessions::<Looker>::builder().max_sessions(1).build().unwrap();
    let args = || LooksUp(sessions.clone());
    assert!(sessions.start_with(&id("a"), args()).await.unwrap());
    assert!(!sessions.start_with(&id("a"), args()).await.unwrap());
    let refused = sessions.start_with(&id("b"), args()).await;
    assert!(matches!(refused, Err(StartError::SessionLimit { max: 1 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_tasks_that_start_one_id_make_one_process() {
    for waits in [false, true] {
        let sessions = Sessions::<Witness>::builder().build().unwrap();
        let (mut told, _ends) = told();
        let gate = Gate::new();
        if waits {
            told.init = Some(gate.clone());
        }
        let starters: Vec<_> = (0..10_000)
            .map(|_| {
                let (sessions, told) = (sessions.clone(), told.clone());
                tokio::spawn(async move { sessions.start_with(&id("a"), told).await.unwrap() })
            })
            .collect();
        if waits {
            gate.reached().await;
            gate.open();
        }
        let mut first = 0;
        for starter in starters {
            first += usize::from(starter.await.unwrap());
        }
        assert_eq!(first, 1, "one of them started it");
        assert_eq!(told.begun.load(Ordering::Relaxed), 1, "one init");
        assert_eq!(sessions.stats().started, 1);
    }
}

#[tokio::test]
async fn those_who_wait_for_a_start_take_up_no_place_of_a_message() {
    let sessions = Sessions::<Witness>::builder().mailbox_capacity(1).build().unwrap();
    let (mut told, _ends) = told();
    let gate = Gate::new();
    told.init = Some(gate.clone());
    let a = id("a");
    let mut starters: Vec<_> = (0..100)
        .map(|_| Box::pin(sessions.start_with(&a, told.clone())))
        .collect();
    for starter in &mut starters {
        assert!(poll_once(starter.as_mut()).await.is_pending());
    }
    gate.reached().await;
    let mut called = Box::pin(sessions.call(&a, Ping));
    assert!(poll_once(called.as_mut()).await.is_pending(), "it has the one place");
    let refused = sessions.call(&a, Ping).await.unwrap_err();
    assert!(matches!(refused, CallError::MailboxFull { capacity: 1, .. }));
    // One that gives up leaves its place to the next.
    drop(called);
    let mut called = Box::pin(sessions.call(&a, Ping));
    assert!(poll_once(called.as_mut()).await.is_pending());
    gate.open();
    called.await.unwrap();
    for starter in starters {
        starter.await.unwrap();
    }
}

#[tokio::test]
async fn messages_wait_for_an_init_that_waits() {
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    let (mut told, _ends) = told();
    let gate = Gate::new();
    told.init = Some(gate.clone());
    let a = id("a");
    let (started, called, ()) = tokio::join!(
        sessions.start_with(&a, told),
        async {
            gate.reached().await;
            assert!(!sessions.is_started(&a), "not yet");
            sessions.call(&a, Ping).await
        },
        async {
            until(|| sessions.stats().sessions == 1).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            gate.open();
        }
    );
    assert!(started.unwrap());
    called.unwrap();
}

#[tokio::test]
async fn a_start_waits_no_longer_than_its_deadline_and_the_init_goes_on() {
    let (sessions, clock) = with_clock::<Witness>(|builder| builder);
    let (mut told, _ends) = told();
    let gate = Gate::new();
    told.init = Some(gate.clone());
    let a = id("a");
    let (started, ()) = tokio::join!(sessions.start_with(&a, told.clone()), async {
        gate.reached().await;
        tokio::task::yield_now().await;
        clock.advance(15 * SECOND);
    });
    assert!(matches!(started.unwrap_err(), StartError::Timeout { .. }));
    gate.open();
    assert!(!sessions.start_with(&a, told).await.unwrap());
}
