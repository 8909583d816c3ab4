//! Starts: one process for an id, whoever asks.

use std::sync::atomic::Ordering;

use session_process::{Sessions, StartError};
use testkit::Gate;

use crate::support::*;

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
