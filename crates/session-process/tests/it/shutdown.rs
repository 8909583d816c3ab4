//! The end of an engine.

use session_process::{EndReason, Health, Sessions, StartError};
use testkit::Gate;

use crate::support::*;

#[tokio::test]
async fn shutdown_handles_what_was_accepted_and_runs_every_hook() {
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    let (told, mut ends) = told();
    for n in 0..100 {
        sessions.start_with(&id(&format!("s{n}")), told.clone()).await.unwrap();
    }
    let gate = Gate::new();
    let busy = id("s0");
    let (at_work, waiting, report, ()) = tokio::join!(
        sessions.call(&busy, Hold(gate.clone())),
        sessions.call(&busy, Ping),
        async {
            gate.reached().await;
            until(|| sessions.session_stats(&busy).unwrap().waiting == 1).await;
            sessions.shutdown(HOUR).await
        },
        async {
            until(|| sessions.stats().sessions == 1).await;
            let refused = sessions.start_with(&id("late"), told.clone()).await.unwrap_err();
            assert!(matches!(refused, StartError::ShuttingDown));
            assert!(sessions.call(&busy, Ping).await.is_err(), "nothing new");
            assert_eq!(sessions.health(), Health::ShuttingDown);
            gate.open();
        }
    );
    at_work.unwrap();
    waiting.unwrap();
    assert_eq!((report.ended, report.cut.len()), (100, 0));
    for _ in 0..100 {
        assert_eq!(ends.recv().await, Some(EndReason::Shutdown));
    }
    assert!(ends.try_recv().is_err(), "each hook once");
    assert_eq!(sessions.stats().sessions, 0);
}

#[tokio::test]
async fn shutdown_reports_what_was_cut_at_the_deadline() {
    let (sessions, clock) = with_clock::<Witness>(|builder| builder.call_timeout(1_000 * HOUR));
    let (told, mut ends) = told();
    let (hangs, ok) = (id("hangs"), id("ok"));
    sessions.start_with(&hangs, told.clone()).await.unwrap();
    sessions.start_with(&ok, told).await.unwrap();
    let gate = Gate::new();
    let (call, report, ()) = tokio::join!(
        sessions.call(&hangs, Hold(gate.clone())),
        async {
            gate.reached().await;
            sessions.shutdown(SECOND).await
        },
        async {
            until(|| sessions.stats().sessions == 1 && sessions.stats().shutting_down).await;
            clock.advance(SECOND);
        }
    );
    assert_eq!(call.unwrap_err().kind(), "ended");
    assert_eq!(report.ended, 1);
    assert_eq!(report.cut, [hangs.public_handle()]);
    assert_eq!(ends.recv().await, Some(EndReason::Shutdown));
    assert!(
        ends.recv().await.is_none(),
        "no hook for the one that was cut, and its process is dropped"
    );
    assert_eq!(sessions.stats().sessions, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn shutdown_under_load_loses_no_answer() {
    let sessions = counters();
    for n in 0..100 {
        sessions.start(&id(&format!("s{n}"))).await.unwrap();
    }
    let callers: Vec<_> = (0..16u64)
        .map(|caller| {
            let sessions = sessions.clone();
            tokio::spawn(async move {
                let mut n = caller;
                loop {
                    n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let id = id(&format!("s{}", (n >> 33) % 100));
                    match sessions.call(&id, Add(1)).await {
                        Ok(_) => {}
                        Err(error) => {
                            // Refused, and whole: the message is back.
                            assert!(error.into_message().is_some());
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    until(|| sessions.stats().sessions == 100).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let report = sessions.shutdown(60 * SECOND).await;
    assert_eq!((report.ended, report.cut.len()), (100, 0));
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn an_engine_that_is_dropped_drops_its_sessions() {
    let (told, mut ends) = told();
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    sessions.start_with(&id("a"), told).await.unwrap();
    let mut monitor = sessions.monitor(&id("a")).unwrap();
    drop(sessions);
    assert_eq!(monitor.ended().await, EndReason::Shutdown);
    assert!(ends.recv().await.is_none(), "dropped, without its hook");
}

#[test]
fn a_runtime_that_goes_away_leaves_no_caller_waiting() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let sessions = runtime.block_on(async { counters() });
    let a = id("a");
    let gate = Gate::new();
    runtime.block_on(async {
        sessions.start(&a).await.unwrap();
        sessions.cast(&a, AddAt(gate.clone(), 1)).unwrap();
        gate.reached().await;
    });
    let caller = {
        let (sessions, a) = (sessions.clone(), a.clone());
        std::thread::spawn(move || {
            let other = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            other.block_on(sessions.call(&a, Add(1)))
        })
    };
    while sessions.session_stats(&a).unwrap().waiting == 0 {
        std::thread::yield_now();
    }
    drop(runtime);
    assert_eq!(caller.join().unwrap().unwrap_err().kind(), "ended");
    assert_eq!(sessions.stats().sessions, 0);
}

#[test]
fn a_message_that_has_to_wait_when_the_runtime_is_gone_is_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let sessions = runtime.block_on(async { counters() });
    let (a, b) = (id("a"), id("b"));
    runtime.block_on(async {
        sessions.start(&a).await.unwrap();
        sessions.start(&b).await.unwrap();
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Handlers run in the engine's runtime, and there is none: nobody waits for what can't come.
    let error = other.block_on(sessions.call(&a, AddAt(Gate::new(), 1))).unwrap_err();
    assert_eq!(error.kind(), "ended");
    assert_eq!(sessions.stats().sessions, 1);
    sessions.cast(&b, AddAt(Gate::new(), 1)).unwrap();
    assert_eq!(sessions.stats().sessions, 0);
}
