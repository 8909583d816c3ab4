//! A new id for a live session.

use session_process::{EndReason, RotateError};
use testkit::Gate;

use crate::support::*;

#[tokio::test]
async fn a_rotated_session_keeps_its_process_and_its_old_id_is_dead() {
    let sessions = counters();
    let old = id("old");
    sessions.start(&old).await.unwrap();
    sessions.call(&old, Add(7)).await.unwrap();
    let mut monitor = sessions.monitor(&old).unwrap();
    let new = sessions.rotate(&old).await.unwrap();
    assert!(!sessions.is_started(&old));
    assert!(sessions.call(&old, Add(1)).await.is_err());
    assert_eq!(sessions.call(&new, Add(1)).await.unwrap(), 8);
    assert_eq!(sessions.call(&new, WhoAmI).await.unwrap(), new);
    assert_eq!(sessions.list(), std::slice::from_ref(&new));
    assert_eq!(sessions.stats().sessions, 1);
    let newer = sessions.rotate(&new).await.unwrap();
    assert!(!sessions.is_started(&new));
    assert!(sessions.start(&old).await.unwrap(), "the old id is free");
    assert_eq!(sessions.call(&old, Add(1)).await.unwrap(), 1);
    assert_eq!(monitor.reason(), None);
    sessions.terminate(&newer).await.unwrap();
    assert_eq!(monitor.ended().await, EndReason::Terminated);
    assert!(sessions.is_started(&old));
}

#[tokio::test]
async fn an_id_that_is_taken_is_not_given_twice() {
    let sessions = counters();
    sessions.start(&id("a")).await.unwrap();
    sessions.start(&id("b")).await.unwrap();
    assert!(matches!(
        sessions.rotate_to(&id("a"), &id("b")).await,
        Err(RotateError::Taken { .. })
    ));
    assert!(matches!(
        sessions.rotate_to(&id("c"), &id("d")).await,
        Err(RotateError::NotStarted { .. })
    ));
    assert!(sessions.is_started(&id("a")) && sessions.is_started(&id("b")));
}

#[tokio::test]
async fn rotation_does_not_wait_for_a_handler() {
    let sessions = counters();
    let old = id("old");
    sessions.start(&old).await.unwrap();
    let gate = Gate::new();
    let (reply, new) = tokio::join!(sessions.call(&old, AddAt(gate.clone(), 3)), async {
        gate.reached().await;
        let new = sessions.rotate(&old).await.unwrap();
        gate.open();
        new
    });
    assert_eq!(reply.unwrap(), 3);
    assert_eq!(sessions.call(&new, Add(1)).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotations_racing_with_calls_and_ends_leave_nothing_behind() {
    let sessions = counters();
    for round in 0..500 {
        let first = id(&format!("first-{round}"));
        sessions.start(&first).await.unwrap();
        let rotator = {
            let (sessions, mut current) = (sessions.clone(), first.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    match sessions.rotate(&current).await {
                        Ok(next) => current = next,
                        Err(_) => break,
                    }
                }
                let _ = sessions.terminate(&current).await;
            })
        };
        while sessions.call(&first, Add(1)).await.is_ok() {
            tokio::task::yield_now().await;
        }
        rotator.await.unwrap();
    }
    assert_eq!(sessions.stats().sessions, 0);
    assert!(sessions.list().is_empty());
}
