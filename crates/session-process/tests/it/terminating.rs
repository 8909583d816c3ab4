//! Ends: asked for, stopped from within, killed, and raced.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Waker},
    time::Duration,
};

use session_process::{Context, EndReason, Init, InitError, Process, Sessions};
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

/// So many that several tasks share the work, and others start and rotate meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn terminate_all_ends_a_crowd_each_once() {
    const CROWD: usize = 20_000;
    let sessions = Sessions::<Witness>::builder().max_sessions(2 * CROWD).build().unwrap();
    let (told, mut ends) = told();
    let ids: Vec<_> = (0..CROWD).map(|n| id(&format!("s{n}"))).collect();
    for id in &ids {
        sessions.start_with(id, told.clone()).await.unwrap();
    }
    let rotating = {
        let sessions = sessions.clone();
        tokio::spawn(async move {
            let mut rotated = 0;
            for id in ids.iter().rev().take(1_000) {
                rotated += usize::from(sessions.rotate(id).await.is_ok());
            }
            rotated
        })
    };
    let mut asked = 0;
    while sessions.stats().sessions > 0 {
        asked += sessions.terminate_all().await;
    }
    rotating.await.unwrap();
    assert_eq!(asked, CROWD);
    drop(told);
    let mut hooks = 0;
    // Until the last sender is gone: those that the sessions were started with are dropped with them.
    while let Some(reason) = ends.recv().await {
        assert_eq!(reason, EndReason::Terminated);
        hooks += 1;
    }
    assert_eq!(hooks, CROWD);
    assert_eq!(sessions.stats().ended, CROWD as u64);
}

/// What a session was started with is the user's, and a `Drop` that panics is one more panic of its process: nobody who
/// ends many sessions pays for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_that_panic_when_dropped_stop_nobody_who_ends_many() {
    #[derive(Clone)]
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("on purpose");
            }
        }
    }
    struct Calm;
    impl Process for Calm {}
    impl Init<Grenade> for Calm {
        async fn init(grenade: Grenade, _: &mut Context<Self>) -> Result<Self, InitError> {
            std::mem::forget(grenade);
            Ok(Self)
        }
    }
    let (sessions, clock) = with_clock::<Calm>(|builder| builder);
    let crowd = async |name: &str| {
        for n in 0..50 {
            sessions.start_with(&id(&format!("{name}{n}")), Grenade).await.unwrap();
        }
    };
    crowd("terminated").await;
    assert_eq!(sessions.terminate_all().await, 50);
    assert_eq!(sessions.stats().sessions, 0);
    crowd("expired").await;
    clock.advance(Duration::from_secs(100 * 3_600));
    // The sweeper has had its share, and lives.
    sessions.expire_now().await;
    until(|| sessions.stats().sessions == 0).await;
    crowd("shut").await;
    let report = sessions.shutdown(Duration::from_secs(10)).await;
    assert_eq!((report.ended, report.cut.len()), (50, 0));
}

/// Arguments that take long to be dropped: until another thread has tried to start their session.
#[derive(Clone)]
struct Dawdles {
    sessions: Sessions<Dawdler>,
    armed: Arc<AtomicBool>,
    waited: Arc<AtomicBool>,
}

struct Dawdler;

impl Process for Dawdler {}

impl Init<Dawdles> for Dawdler {
    async fn init(_: Dawdles, _: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self)
    }
}

impl Drop for Dawdles {
    fn drop(&mut self) {
        if !self.armed.swap(false, Ordering::Relaxed) {
            return;
        }
        let (again, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let start = move || {
            let _in = runtime.enter();
            let (sessions, id) = (again.sessions.clone(), id("a"));
            let start = pin!(sessions.start_with(&id, again));
            start.poll(&mut task::Context::from_waker(Waker::noop())).is_pending()
        };
        let waits = std::thread::spawn(start).join().unwrap();
        self.waited.store(waits, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_start_waits_for_the_end_also_while_the_arguments_are_dropped() {
    let (sessions, _clock) = with_clock::<Dawdler>(|builder| builder);
    let args = Dawdles {
        sessions: sessions.clone(),
        armed: Arc::default(),
        waited: Arc::default(),
    };
    sessions.start_with(&id("a"), args.clone()).await.unwrap();
    args.armed.store(true, Ordering::Relaxed);
    sessions.terminate(&id("a")).await.unwrap();
    assert!(
        args.waited.load(Ordering::Relaxed),
        "it neither failed nor went round in circles"
    );
    assert!(sessions.start_with(&id("a"), args.clone()).await.unwrap());
}
