//! Callers that go away: a message is handled whole or not at all.

use testkit::Gate;

use crate::support::*;

#[tokio::test]
async fn a_handler_that_has_begun_completes_without_its_caller() {
    let sessions = counters();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    let caller = {
        let (sessions, a, gate) = (sessions.clone(), a.clone(), gate.clone());
        tokio::spawn(async move { sessions.call(&a, AddAt(gate, 7)).await })
    };
    gate.reached().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(sessions.call(&a, Log).await.unwrap(), [0, 7]);
}

#[tokio::test]
async fn a_message_that_waits_goes_with_its_caller() {
    let sessions = counters();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    sessions.cast(&a, AddAt(gate.clone(), 1)).unwrap();
    gate.reached().await;
    let caller = {
        let (sessions, a) = (sessions.clone(), a.clone());
        tokio::spawn(async move { sessions.call(&a, Add(7)).await })
    };
    until(|| sessions.session_stats(&a).unwrap().waiting == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    gate.open();
    assert_eq!(sessions.call(&a, Log).await.unwrap(), [0, 1]);
}

/// Drops a call after each number of polls that it takes, while another message is at work: whatever the point, the
/// log shows the message whole or not at all, and the session goes on.
#[tokio::test]
async fn a_caller_may_be_cancelled_at_each_await_point() {
    use std::{future::Future, task::Poll};
    for polls in 0..6 {
        for busy in [false, true] {
            let sessions = counters();
            let a = id("a");
            sessions.start(&a).await.unwrap();
            let (first, second) = (Gate::new(), Gate::new());
            if busy {
                sessions.cast(&a, AddAt(first.clone(), 1)).unwrap();
                first.reached().await;
            }
            let mut done = false;
            {
                let mut call = Box::pin(sessions.call(&a, AddAt(second.clone(), 7)));
                for poll in 0..polls {
                    if poll == 1 {
                        first.open();
                    }
                    if poll == 3 {
                        second.open();
                    }
                    std::future::poll_fn(|cx| {
                        done = done || call.as_mut().poll(cx).is_ready();
                        Poll::Ready(())
                    })
                    .await;
                    if done {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            first.open_for_all();
            second.open_for_all();
            let log = sessions.call(&a, Log).await.unwrap();
            let ours: Vec<u64> = log.into_iter().skip(if busy { 2 } else { 0 }).collect();
            assert!(
                ours.is_empty() || ours == [0, 7],
                "half a change after {polls} polls: {ours:?}"
            );
            assert!(!done || ours == [0, 7]);
            assert_eq!(sessions.session_stats(&a).unwrap().waiting, 0);
        }
    }
}

#[tokio::test]
async fn an_init_that_has_begun_completes_without_its_caller() {
    let sessions = session_process::Sessions::<Witness>::builder().build().unwrap();
    let (mut told, _ends) = told();
    let gate = Gate::new();
    told.init = Some(gate.clone());
    let a = id("a");
    let starter = {
        let (sessions, a, told) = (sessions.clone(), a.clone(), told.clone());
        tokio::spawn(async move { sessions.start_with(&a, told).await })
    };
    gate.reached().await;
    starter.abort();
    let _ = starter.await;
    assert!(!sessions.is_started(&a));
    gate.open();
    assert!(
        !sessions.start_with(&a, told).await.unwrap(),
        "it was started by the one that left"
    );
    sessions.call(&a, Ping).await.unwrap();
}
