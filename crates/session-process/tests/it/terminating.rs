//! Ends: asked for, stopped from within, killed, and raced.

use session_process::{EndReason, Sessions};
use testkit::Gate;

use crate::support::*;

#[tokio::test]
async fn terminate_lets_the_handler_end_and_gives_back_what_waits() {
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    let (told, mut ends) = told();
    let a = id("a");
    sessions.start_with(&a, told).await.unwrap();
    let gate = Gate::new();
    let (at_work, waiting, ended, ()) = tokio::join!(
        sessions.call(&a, Hold(gate.clone())),
        sessions.call(&a, Ping),
        async {
            gate.reached().await;
            until(|| sessions.session_stats(&a).unwrap().waiting == 1).await;
            sessions.terminate(&a).await
        },
        async {
            until(|| !sessions.is_started(&a) && sessions.stats().sessions == 1).await;
            assert!(sessions.call(&a, Ping).await.is_err());
            gate.open();
        }
    );
    at_work.unwrap();
    let waiting = waiting.unwrap_err();
    assert_eq!(waiting.kind(), "ended");
    assert!(waiting.into_message().is_some());
    ended.unwrap();
    assert_eq!(ends.recv().await, Some(EndReason::Terminated));
    assert!(ends.recv().await.is_none(), "the hook ran once");
    assert!(sessions.terminate(&a).await.is_err());
}

#[tokio::test]
async fn a_process_that_stops_itself_still_replies() {
    let sessions = counters();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    assert_eq!(sessions.call(&a, Stop).await.unwrap(), "bye");
    assert!(
        sessions.call(&a, Add(1)).await.is_err(),
        "who has the reply finds it gone"
    );
    assert_eq!(monitor.ended().await, EndReason::Stopped);
}

#[tokio::test]
async fn kill_cuts_off_a_handler_that_never_ends() {
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    let (told, mut ends) = told();
    let a = id("a");
    sessions.start_with(&a, told).await.unwrap();
    let gate = Gate::new();
    let (call, ()) = tokio::join!(sessions.call(&a, Hold(gate.clone())), async {
        gate.reached().await;
        sessions.kill(&a).unwrap();
    });
    assert_eq!(call.unwrap_err().kind(), "ended");
    until(|| sessions.stats().sessions == 0).await;
    assert!(ends.recv().await.is_none(), "dropped, without its hook");
    let (told, _ends) = told2();
    assert!(sessions.start_with(&a, told).await.unwrap());
}

fn told2() -> (Told, tokio::sync::mpsc::UnboundedReceiver<EndReason>) {
    told()
}

#[tokio::test]
async fn a_handler_that_never_ends_holds_up_nobody_else() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(None));
    let (a, b) = (id("a"), id("b"));
    sessions.start(&a).await.unwrap();
    sessions.start(&b).await.unwrap();
    let gate = Gate::new();
    let (call, ()) = tokio::join!(sessions.call(&a, AddAt(gate.clone(), 1)), async {
        gate.reached().await;
        tokio::task::yield_now().await;
        clock.advance(15 * SECOND);
        assert_eq!(sessions.call(&b, Add(1)).await.unwrap(), 1);
    });
    assert_eq!(call.unwrap_err().kind(), "timeout");
}

#[tokio::test]
async fn a_start_waits_for_the_end_of_the_one_before() {
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    let (mut told, mut ends) = told();
    let gate = Gate::new();
    told.hook = Some(gate.clone());
    let a = id("a");
    sessions.start_with(&a, told.clone()).await.unwrap();
    let (ended, started, ()) = tokio::join!(
        sessions.terminate(&a),
        async {
            gate.reached().await;
            sessions.start_with(&a, told.clone()).await
        },
        async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                told.begun.load(std::sync::atomic::Ordering::Relaxed),
                1,
                "never two at a time"
            );
            gate.open();
        }
    );
    ended.unwrap();
    assert!(started.unwrap());
    assert_eq!(ends.recv().await, Some(EndReason::Terminated));
    assert_eq!(told.begun.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn terminate_racing_with_calls_and_starts_never_serves_half_or_twice() {
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    let (told, mut ends) = told();
    let mut tasks = Vec::new();
    for worker in 0..6 {
        let (sessions, told) = (sessions.clone(), told.clone());
        tasks.push(tokio::spawn(async move {
            let a = id("a");
            for _ in 0..2_000 {
                match worker % 3 {
                    0 => drop(sessions.start_with(&a, told.clone()).await),
                    1 => drop(sessions.terminate(&a).await),
                    _ => drop(sessions.call(&a, Ping).await),
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let _ = sessions.terminate(&id("a")).await;
    let begun = told.begun.load(std::sync::atomic::Ordering::Relaxed);
    drop((sessions, told));
    let mut hooks = 0;
    while let Some(reason) = ends.recv().await {
        assert_eq!(reason, EndReason::Terminated);
        hooks += 1;
    }
    assert_eq!(hooks, begun, "each process that began ended with its hook, once");
}
