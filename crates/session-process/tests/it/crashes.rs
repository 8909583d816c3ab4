//! Panics: isolation, restarts, and what callers learn.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use session_process::{
    CallError, Context, EndReason, Event, Handle, Init, InitError, Process, Restart, Sessions, StartError,
};
use testkit::Gate;

use crate::support::*;

#[tokio::test]
async fn a_panic_ends_that_process_alone_and_it_begins_anew() {
    let sessions = counters();
    let (a, b) = (id("a"), id("b"));
    sessions.start(&a).await.unwrap();
    sessions.start(&b).await.unwrap();
    sessions.call(&a, Add(7)).await.unwrap();
    sessions.call(&b, Add(7)).await.unwrap();
    let error = sessions.call(&a, Panic).await.unwrap_err();
    assert!(matches!(error, CallError::Crashed { message: None, .. }), "{error}");
    assert_eq!(sessions.call(&a, Add(1)).await.unwrap(), 1, "begun anew");
    assert_eq!(sessions.call(&b, Add(1)).await.unwrap(), 8, "untouched");
}

#[tokio::test]
async fn those_who_wait_when_a_handler_panics_get_crashed_and_their_message() {
    let sessions = counters();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    let (crashed, waiting, ()) = tokio::join!(
        sessions.call(&a, PanicAt(gate.clone())),
        sessions.call(&a, Add(3)),
        async {
            gate.reached().await;
            until(|| sessions.session_stats(&a).unwrap().waiting == 1).await;
            gate.open();
        }
    );
    assert!(matches!(crashed.unwrap_err(), CallError::Crashed { message: None, .. }));
    let CallError::Crashed {
        message: Some(Add(3)), ..
    } = waiting.unwrap_err()
    else {
        panic!("nobody began to handle it")
    };
    assert_eq!(sessions.call(&a, Add(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn restarts_beyond_the_intensity_end_the_session() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder);
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    for _ in 0..2 {
        sessions.call(&a, Panic).await.unwrap_err();
        sessions.call(&a, Add(1)).await.unwrap();
    }
    // The two are a minute old: they no longer count.
    clock.advance(60 * SECOND);
    for _ in 0..2 {
        sessions.call(&a, Panic).await.unwrap_err();
        sessions.call(&a, Add(1)).await.unwrap();
    }
    sessions.call(&a, Panic).await.unwrap_err();
    assert_eq!(monitor.ended().await, EndReason::Crashed);
    assert!(!sessions.is_started(&a));
    assert!(sessions.start(&a).await.unwrap(), "the id is free again");
}

#[tokio::test]
async fn a_restarted_process_gets_the_arguments_it_was_started_with() {
    let sessions = Sessions::<Witness>::builder().build().unwrap();
    let (told, mut ends) = told();
    let a = id("a");
    sessions.start_with(&a, told.clone()).await.unwrap();
    sessions.call(&a, Panic).await.unwrap_err();
    assert_eq!(
        ends.recv().await,
        Some(EndReason::Crashed),
        "the hook of the process that crashed"
    );
    sessions.call(&a, Ping).await.unwrap();
    assert_eq!(told.begun.load(std::sync::atomic::Ordering::Relaxed), 2);
    sessions.terminate(&a).await.unwrap();
    assert_eq!(ends.recv().await, Some(EndReason::Terminated));
}

#[derive(Default)]
struct Fragile;
impl Process for Fragile {
    const RESTART: Restart = Restart::Never;
}
impl Handle<Panic> for Fragile {
    type Reply = ();
    async fn handle(&mut self, _: Panic, _: &mut session_process::Context<Self>) {
        panic!("as told");
    }
}

#[tokio::test]
async fn a_process_that_is_not_to_be_restarted_ends_with_its_first_panic() {
    let sessions = Sessions::<Fragile>::builder().build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    sessions.cast(&a, Panic).unwrap();
    assert_eq!(monitor.ended().await, EndReason::Crashed);
    assert_eq!(sessions.stats().sessions, 0);
}

#[derive(Debug, Clone, Copy)]
enum Broken {
    Fails,
    Panics,
}

struct NeverStarts;
impl Process for NeverStarts {}
impl Init<(Broken, Option<Gate>)> for NeverStarts {
    async fn init(
        (broken, gate): (Broken, Option<Gate>),
        _: &mut session_process::Context<Self>,
    ) -> Result<Self, InitError> {
        if let Some(gate) = gate {
            gate.pass().await;
        }
        match broken {
            Broken::Fails => Err("no such user".into()),
            Broken::Panics => panic!("as told"),
        }
    }
}
impl Handle<Ping> for NeverStarts {
    type Reply = ();
    async fn handle(&mut self, _: Ping, _: &mut session_process::Context<Self>) {}
}

#[tokio::test]
async fn an_init_that_fails_or_panics_leaves_nothing_behind() {
    let sessions = Sessions::<NeverStarts>::builder().build().unwrap();
    let a = id("a");
    for broken in [Broken::Fails, Broken::Panics] {
        for gate in [None, Some(Gate::new())] {
            if let Some(gate) = &gate {
                gate.open_for_all();
            }
            let error = sessions.start_with(&a, (broken, gate)).await.unwrap_err();
            match broken {
                Broken::Fails => {
                    let StartError::InitFailed { source, .. } = error else {
                        panic!("{error}")
                    };
                    assert_eq!(source.to_string(), "no such user");
                }
                Broken::Panics => assert!(matches!(error, StartError::InitPanicked { .. }), "{error}"),
            }
            assert!(!sessions.is_started(&a));
            assert_eq!(sessions.stats().sessions, 0, "its place is free");
        }
    }
}

#[tokio::test]
async fn who_waits_for_an_init_that_fails_learns_why() {
    let sessions = Sessions::<NeverStarts>::builder().build().unwrap();
    let a = id("a");
    let gate = Gate::new();
    let (first, second, call, ()) = tokio::join!(
        sessions.start_with(&a, (Broken::Fails, Some(gate.clone()))),
        sessions.start_with(&a, (Broken::Fails, None)),
        async {
            gate.reached().await;
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
    assert!(matches!(first.unwrap_err(), StartError::InitFailed { .. }));
    assert!(matches!(second.unwrap_err(), StartError::InitFailed { .. }));
    let call = call.unwrap_err();
    assert!(matches!(call, CallError::InitFailed { .. }), "{call}");
    assert!(call.into_message().is_some());
}

#[derive(Default)]
struct BadHook;
impl Process for BadHook {
    async fn terminate(&mut self, _: EndReason, _: &mut session_process::Context<Self>) {
        panic!("in the hook");
    }
}

#[tokio::test]
async fn a_terminate_hook_that_panics_or_hangs_is_reported_and_the_session_ends() {
    let sessions = Sessions::<BadHook>::builder().build().unwrap();
    let mut events = sessions.events();
    sessions.start(&id("a")).await.unwrap();
    sessions.terminate(&id("a")).await.unwrap();
    let error = events.find(|event| match event {
        Event::HookFailed { error, .. } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(error.await.unwrap(), "in the hook");
    assert_eq!(sessions.stats().sessions, 0);

    let (sessions, clock) = with_clock::<Witness>(|builder| builder.terminate_timeout(5 * SECOND));
    let (mut told, _ends) = told();
    let gate = Gate::new();
    told.hook = Some(gate.clone());
    sessions.start_with(&id("a"), told).await.unwrap();
    let mut events = sessions.events();
    let a = id("a");
    let (ended, ()) = tokio::join!(sessions.terminate(&a), async {
        gate.reached().await;
        // The hook has begun to wait; its time limit is set in the same poll.
        tokio::task::yield_now().await;
        clock.advance(5 * SECOND);
    });
    ended.unwrap();
    let error = events.find(|event| match event {
        Event::HookFailed { error, .. } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(error.await.unwrap(), "cut after 5s");
    assert_eq!(sessions.stats().sessions, 0);
}

/// What panics when it is dropped.
#[derive(Debug)]
struct Nasty;

impl std::fmt::Display for Nasty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nasty")
    }
}

impl std::error::Error for Nasty {}

impl Drop for Nasty {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

struct Brittle;

impl Process for Brittle {}

#[derive(Clone)]
enum Again {
    Panics,
    PanicsNastily,
    FailsNastily,
}

impl Init<(Again, Arc<AtomicUsize>)> for Brittle {
    async fn init((again, inits): (Again, Arc<AtomicUsize>), _: &mut Context<Self>) -> Result<Self, InitError> {
        match again {
            _ if inits.fetch_add(1, Ordering::Relaxed) == 0 => Ok(Self),
            Again::Panics => panic!("again"),
            Again::PanicsNastily => std::panic::panic_any(Nasty),
            Again::FailsNastily => Err(Box::new(Nasty)),
        }
    }
}

impl Handle<Ping> for Brittle {
    type Reply = ();

    async fn handle(&mut self, _: Ping, _: &mut Context<Self>) {
        panic!("as told");
    }
}

#[tokio::test]
async fn a_restart_that_fails_is_a_crash_also_if_its_failure_panics_when_it_is_dropped() {
    for again in [Again::Panics, Again::PanicsNastily, Again::FailsNastily] {
        let sessions = Sessions::<Brittle>::builder().build().unwrap();
        let id = id("a");
        sessions.start_with(&id, (again, Arc::default())).await.unwrap();
        let mut monitor = sessions.monitor(&id).unwrap();
        sessions.call(&id, Ping).await.unwrap_err();
        assert_eq!(monitor.ended().await, EndReason::Crashed);
        assert_eq!(sessions.stats().sessions, 0);
    }
}
