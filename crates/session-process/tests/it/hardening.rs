//! What an attempt to break the engine found: each of these failed once, or is a stress that found nothing. The
//! processes here are puppets that do whatever a test tells them to.
#![allow(
    dead_code,
    unreachable_pub,
    unused_must_use,
    missing_docs,
    missing_debug_implementations,
    clippy::print_stderr,
    clippy::type_complexity,
    clippy::manual_is_multiple_of,
    reason = "puppets, and figures for whoever reads a failure"
)]
use crate::support::*;
use session_process::*;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use testkit::Gate;

/// What takes longer hangs, also on a machine that is busy with other things.
const T: Duration = Duration::from_secs(20);
type Fut<'a> = Pin<Box<dyn Future<Output = u64> + Send + 'a>>;

async fn in_time<F: Future>(what: &str, f: F) -> F::Output {
    tokio::time::timeout(T, f)
        .await
        .unwrap_or_else(|_| panic!("HANG: {what}"))
}

/// For what comes by the real clock.
async fn in_the_end(what: &str, mut holds: impl FnMut() -> bool) {
    in_time(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The same, where no runtime is.
fn in_the_end_blocking(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < T, "HANG: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Clone, Default)]
struct Opts {
    drop_panics: bool,
    eager_panic: bool,
    hook_timer: bool,
    init_gate: Option<Gate>,
    hook_gate: Option<Gate>,
    hooks: Arc<AtomicUsize>,
    inits: Arc<AtomicUsize>,
    fail_reinit: bool,
}
struct Puppet {
    o: Opts,
    seen: Vec<u64>,
}
impl Drop for Puppet {
    fn drop(&mut self) {
        if self.o.drop_panics && !std::thread::panicking() {
            panic!("drop of process")
        }
    }
}
impl Process for Puppet {
    fn terminate(&mut self, _r: EndReason, cx: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        self.o.hooks.fetch_add(1, Ordering::SeqCst);
        if self.o.eager_panic {
            panic!("eager")
        }
        if self.o.hook_timer {
            cx.send_after(Duration::ZERO, Note(99));
        }
        let gate = self.o.hook_gate.clone();
        async move {
            if let Some(g) = gate {
                g.pass().await
            }
        }
    }
}
impl Init<Opts> for Puppet {
    async fn init(o: Opts, _: &mut Context<Self>) -> Result<Self, InitError> {
        let n = o.inits.fetch_add(1, Ordering::SeqCst);
        if let Some(g) = &o.init_gate {
            g.pass().await
        }
        if n > 0 && o.fail_reinit {
            return Err("no".into());
        }
        Ok(Self { o, seen: vec![] })
    }
}
#[derive(Clone)]
struct Note(u64);
impl Handle<Note> for Puppet {
    type Reply = Vec<u64>;
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) -> Vec<u64> {
        self.seen.push(n);
        self.seen.clone()
    }
}
struct Do(Box<dyn for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Puppet>) -> Fut<'a> + Send>);
impl Handle<Do> for Puppet {
    type Reply = u64;
    async fn handle(&mut self, Do(f): Do, cx: &mut Context<Self>) -> u64 {
        f(self, cx).await
    }
}
fn act(f: impl for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Puppet>) -> Fut<'a> + Send + 'static) -> Do {
    Do(Box::new(f))
}
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("drop of message")
        }
    }
}
impl Handle<Bomb> for Puppet {
    type Reply = ();
    async fn handle(&mut self, b: Bomb, _: &mut Context<Self>) {
        std::mem::forget(b)
    }
}

fn puppets() -> Sessions<Puppet> {
    Sessions::builder().build().unwrap()
}

#[tokio::test]
async fn kill_of_an_idle_session_ends_it() {
    let s = puppets();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    let mut m = s.monitor(&a).unwrap();
    s.kill(&a).unwrap();
    in_time("monitor", m.ended()).await;
    assert_eq!(s.stats().sessions, 0);
}
// S13 rotate during shutdown
#[tokio::test]
async fn rotate_during_shutdown_hides_no_session() {
    let s = puppets();
    let o = Opts::default();
    let ids: Vec<_> = (0..600).map(|n| id(&format!("s{n}"))).collect();
    for i in &ids {
        s.start_with(i, o.clone()).await.unwrap();
    }
    let (report, ()) = tokio::join!(s.shutdown(Duration::from_secs(1)), async {
        // runs at the shutdown's first yield
        for i in &ids {
            let _ = s.rotate(i).await;
        }
    });
    assert_eq!(report.cut.len(), 0);
    assert_eq!(o.hooks.load(Ordering::SeqCst), 600);
    assert_eq!(s.stats().sessions, 0);
}
#[tokio::test]
async fn shutdown_while_a_crash_recovers_answers_those_that_wait() {
    let s = puppets();
    let a = id("a");
    let hook = Gate::new();
    let o = Opts {
        hook_gate: Some(hook.clone()),
        ..Opts::default()
    };
    s.start_with(&a, o).await.unwrap();
    s.cast(&a, act(|_, _| Box::pin(async { panic!("crash") }))).unwrap();
    hook.reached().await; // terminate(Crashed) waits
    let (call, _r, ()) = tokio::join!(
        async { tokio::time::timeout(T, s.call(&a, Note(1))).await },
        async {
            until(|| s.session_stats(&a).unwrap().waiting == 1).await;
            s.shutdown(HOUR).await
        },
        async {
            until(|| s.stats().shutting_down).await;
            for _ in 0..10 {
                tokio::task::yield_now().await
            }
            hook.open_for_all();
        }
    );
    assert!(call.is_ok(), "HANG: the call is neither handled nor refused");
}
#[tokio::test]
async fn effects_and_timers_end_with_the_engine() {
    let s = puppets();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    let (alive, gone) = tokio::sync::oneshot::channel::<()>();
    let held = Arc::new(());
    let msg_held = held.clone();
    struct Carry(Arc<()>);
    impl Handle<Carry> for Puppet {
        type Reply = ();
        async fn handle(&mut self, c: Carry, _: &mut Context<Self>) {
            drop(c.0)
        }
    }
    s.call(
        &a,
        act(move |_, cx| {
            cx.spawn(async move {
                let _a = alive;
                std::future::pending::<()>().await;
                Note(1)
            });
            cx.send_after(HOUR, Carry(msg_held));
            Box::pin(async { 0 })
        }),
    )
    .await
    .unwrap();
    drop(s);
    in_time("effect outlives its engine", async {
        let _ = gone.await;
    })
    .await;
    for _ in 0..20 {
        tokio::task::yield_now().await
    }
    assert_eq!(Arc::strong_count(&held), 1, "timer's message leaks for an hour");
}
#[tokio::test]
async fn a_message_whose_drop_panics_when_it_is_refused_strands_nobody() {
    let s = puppets();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    let s2 = s.clone();
    let call = tokio::spawn({
        let (s, a) = (s.clone(), a.clone());
        async move {
            s.call(
                &a,
                act(move |_, cx| {
                    s2.cast(&cx.session_id(), Bomb).unwrap();
                    cx.stop(EndReason::Stopped);
                    Box::pin(async { 7 })
                }),
            )
            .await
            .map_err(|e| e.kind())
        }
    });
    assert_eq!(call.await.unwrap(), Ok(7));
    in_time("terminate", async {
        let _ = s.terminate(&a).await;
    })
    .await;
    assert_eq!(s.stats().sessions, 0);
}
#[tokio::test]
async fn effects_of_a_crashed_process_dont_reach_the_next() {
    let s = puppets();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    let e = s
        .call(
            &a,
            act(|_, cx| {
                cx.spawn(async { Note(1) });
                panic!("crash")
            }),
        )
        .await
        .unwrap_err();
    assert_eq!(e.kind(), "crashed");
    for _ in 0..20 {
        tokio::task::yield_now().await
    }
    assert_eq!(
        s.call(&a, Note(2)).await.unwrap(),
        [2],
        "an effect of the process before"
    );
}
#[tokio::test]
async fn timers_made_in_the_crash_hook_stop() {
    let s = puppets();
    let a = id("a");
    s.start_with(
        &a,
        Opts {
            hook_timer: true,
            ..Opts::default()
        },
    )
    .await
    .unwrap();
    let _ = s.call(&a, act(|_, _| panic!("crash"))).await.unwrap_err();
    for _ in 0..50 {
        tokio::task::yield_now().await
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(s.call(&a, Note(2)).await.unwrap(), [2]);
}
#[test]
fn handler_begun_on_a_foreign_runtime_completes() {
    let home = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let s = home.block_on(async { puppets() });
    let a = id("a");
    let away = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    away.block_on(s.start_with(&a, Opts::default())).unwrap();
    let e = away
        .block_on(s.call_within(
            &a,
            act(|_, _| {
                Box::pin(async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    1
                })
            }),
            Duration::from_millis(10),
        ))
        .unwrap_err();
    assert_eq!(e.kind(), "timeout");
    // the caller's runtime is idle now, the engine's runs
    in_the_end_blocking("its sleep belongs to the caller's runtime", || {
        !s.session_stats(&a).unwrap().running
    });
}
#[test]
fn handler_begun_on_a_foreign_runtime_completes_without_it() {
    let home = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let s = home.block_on(async { puppets() });
    let a = id("a");
    let away = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    away.block_on(s.start_with(&a, Opts::default())).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let d = done.clone();
    let _g = away.enter();
    s.cast(
        &a,
        act(move |_, _| {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                d.store(true, Ordering::SeqCst);
                1
            })
        }),
    )
    .unwrap();
    drop(_g);
    drop(away);
    in_the_end_blocking("the handler crashed with its caller's runtime", || {
        done.load(Ordering::SeqCst)
    });
}
#[test]
fn a_call_works_outside_a_runtime() {
    let home = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let s = home.block_on(async { puppets() });
    let a = id("a");
    home.block_on(s.start_with(&a, Opts::default())).unwrap();
    struct W(std::thread::Thread);
    impl std::task::Wake for W {
        fn wake(self: Arc<Self>) {
            self.0.unpark()
        }
    }
    let mut f = Box::pin(s.call(&a, Note(1)));
    let w = std::task::Waker::from(Arc::new(W(std::thread::current())));
    let r = loop {
        match f.as_mut().poll(&mut std::task::Context::from_waker(&w)) {
            std::task::Poll::Ready(r) => break r,
            _ => std::thread::park(),
        }
    };
    assert_eq!(r.unwrap(), [1]);
}
#[test]
fn a_caller_may_be_in_a_runtime_without_timers() {
    let home = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let s = home.block_on(async { puppets() });
    let a = id("a");
    home.block_on(s.start_with(&a, Opts::default())).unwrap();
    let away = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let r = away.block_on(s.call(
        &a,
        act(|_, _| {
            Box::pin(async {
                tokio::task::yield_now().await;
                1
            })
        }),
    ));
    assert_eq!(r.unwrap(), 1);
}
#[tokio::test]
async fn a_process_whose_drop_panics_can_be_killed() {
    let s = puppets();
    let a = id("a");
    let g = Gate::new();
    let g2 = g.clone();
    s.start_with(
        &a,
        Opts {
            drop_panics: true,
            ..Opts::default()
        },
    )
    .await
    .unwrap();
    s.cast(
        &a,
        act(move |_, _| {
            Box::pin(async move {
                g2.pass().await;
                1
            })
        }),
    )
    .unwrap();
    g.reached().await;
    let mut m = s.monitor(&a).unwrap();
    tokio::task::yield_now().await;
    s.kill(&a).unwrap();
    in_time("monitor", m.ended()).await;
    assert_eq!(s.stats().sessions, 0);
}
#[tokio::test]
async fn an_engine_is_dropped_with_processes_whose_drop_panics() {
    let s = puppets();
    let witness = Arc::new(AtomicUsize::new(0));
    for n in 0..50 {
        s.start_with(
            &id(&format!("x{n}")),
            Opts {
                drop_panics: n % 2 == 0,
                hooks: witness.clone(),
                ..Opts::default()
            },
        )
        .await
        .unwrap();
    }
    let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(s)));
    assert!(r.is_ok());
    assert_eq!(Arc::strong_count(&witness), 1, "none has leaked");
}
#[tokio::test]
async fn a_terminate_hook_that_panics_before_its_future_leaves_the_sweeper_at_work() {
    let s = Sessions::<Puppet>::builder()
        .idle_timeout(Duration::from_millis(30))
        .sweep_interval(Duration::from_millis(10))
        .build()
        .unwrap();
    s.start_with(
        &id("bad"),
        Opts {
            eager_panic: true,
            ..Opts::default()
        },
    )
    .await
    .unwrap();
    in_the_end("the end", || s.stats().sessions == 0).await;
    s.start_with(&id("good"), Opts::default()).await.unwrap();
    in_the_end("nobody sweeps any more", || s.stats().sessions == 0).await;
}
#[tokio::test]
async fn a_terminate_hook_that_panics_before_its_future_doesnt_hold_up_the_shutdown() {
    let s = puppets();
    s.start_with(
        &id("bad"),
        Opts {
            eager_panic: true,
            ..Opts::default()
        },
    )
    .await
    .unwrap();
    let s2 = s.clone();
    tokio::spawn(async move {
        let _ = s2.shutdown(SECOND).await;
    })
    .await
    .unwrap();
}
#[tokio::test]
async fn a_terminate_hook_that_panics_before_its_future_is_followed_by_the_restart() {
    let s = puppets();
    s.start_with(
        &id("bad"),
        Opts {
            eager_panic: true,
            ..Opts::default()
        },
    )
    .await
    .unwrap();
    let _ = s.call(&id("bad"), act(|_, _| panic!("crash"))).await;
    assert_eq!(
        s.call(&id("bad"), Note(1)).await.map_err(|e| e.kind()).unwrap(),
        [1],
        "a hook's panic is an event, not the end"
    );
}
#[tokio::test]
async fn idle_time_begins_when_a_queued_handler_ends() {
    let (s, clock) = with_clock::<Counter>(|b| b.idle_timeout(HOUR).call_timeout(100 * HOUR).max_lifetime(None));
    let a = id("a");
    s.start(&a).await.unwrap();
    let (g1, g2) = (Gate::new(), Gate::new());
    let (r1, r2, ()) = tokio::join!(
        s.call(&a, AddAt(g1.clone(), 1)),
        s.call(&a, AddAt(g2.clone(), 2)),
        async {
            g1.reached().await;
            g1.open();
            g2.reached().await;
            clock.advance(2 * HOUR);
            g2.open();
        }
    );
    r1.unwrap();
    r2.unwrap();
    assert!(s.call(&a, Add(1)).await.is_ok(), "expired the moment its handler ended");
}
#[tokio::test]
async fn idle_time_begins_when_init_ends() {
    let (s, clock) = with_clock::<Puppet>(|b| b.idle_timeout(SECOND).call_timeout(HOUR));
    let a = id("a");
    let g = Gate::new();
    let (r, ()) = tokio::join!(
        s.start_with(
            &a,
            Opts {
                init_gate: Some(g.clone()),
                ..Opts::default()
            }
        ),
        async {
            g.reached().await;
            clock.advance(2 * SECOND);
            g.open();
        }
    );
    assert!(r.unwrap());
    assert!(s.call(&a, Note(1)).await.is_ok(), "started, and never served");
}
#[tokio::test]
async fn messages_taken_back_leave_the_mailbox() {
    let s = Sessions::<Counter>::builder().mailbox_capacity(2).build().unwrap();
    let a = id("a");
    s.start(&a).await.unwrap();
    let g = Gate::new();
    s.cast(&a, AddAt(g.clone(), 1)).unwrap();
    g.reached().await;
    for _ in 0..2 {
        let e = s.call_within(&a, Add(1), Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(e.kind(), "timeout");
        assert!(e.into_message().is_some());
    }
    s.cast(&a, Add(5))
        .expect("the places of messages that were taken back are free");
    assert_eq!(s.session_stats(&a).unwrap().waiting, 1);
}
#[test]
fn an_interval_slower_than_its_period_leaves_the_thread_to_others() {
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let rt = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        rt.block_on(async {
            let s = puppets();
            let a = id("a");
            struct Tick;
            impl Clone for Tick {
                fn clone(&self) -> Self {
                    Tick
                }
            }
            impl Handle<Tick> for Puppet {
                type Reply = ();
                async fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
                    std::thread::sleep(Duration::from_millis(20))
                }
            }
            s.start_with(&a, Opts::default()).await.unwrap();
            s.call(
                &a,
                act(|_, cx| {
                    cx.send_interval(Duration::from_millis(1), Tick);
                    Box::pin(async { 0 })
                }),
            )
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            tx.send(()).unwrap();
        });
        std::process::exit(0);
    });
    rx.recv_timeout(Duration::from_secs(5))
        .expect("HANG: the interval never gives its thread up");
}
#[tokio::test]
async fn a_cast_drops_its_reply() {
    struct Take(Arc<tokio::sync::Semaphore>);
    impl Handle<Take> for Puppet {
        type Reply = tokio::sync::OwnedSemaphorePermit;
        async fn handle(&mut self, Take(s): Take, _: &mut Context<Self>) -> Self::Reply {
            tokio::task::yield_now().await;
            s.acquire_owned().await.unwrap()
        }
    }
    let s = puppets();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    let sem = Arc::new(tokio::sync::Semaphore::new(1));
    s.cast(&a, Take(sem.clone())).unwrap();
    in_time(
        "the reply of the cast is kept until the queue is empty",
        s.call(&a, Take(sem.clone())),
    )
    .await
    .unwrap();
}
#[tokio::test]
async fn two_that_terminate_each_other_both_end() {
    let s = puppets();
    let (a, b) = (id("a"), id("b"));
    for i in [&a, &b] {
        s.start_with(i, Opts::default()).await.unwrap();
    }
    let go = |s: &Sessions<Puppet>, other: &SessionId| {
        let (s, other) = (s.clone(), other.clone());
        act(move |_, _| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                let _ = s.terminate(&other).await;
                1
            })
        })
    };
    s.cast(&a, go(&s, &b)).unwrap();
    s.cast(&b, go(&s, &a)).unwrap();
    let s2 = s.clone();
    in_time(
        "both wait for each other for ever",
        until(move || s2.stats().sessions == 0),
    )
    .await;
}
#[tokio::test]
async fn two_that_wait_for_each_other_by_a_call_and_a_terminate_go_on() {
    let s = Sessions::<Puppet>::builder()
        .call_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let (a, b) = (id("a"), id("b"));
    for i in [&a, &b] {
        s.start_with(i, Opts::default()).await.unwrap();
    }
    let (s1, s2, b2, a2) = (s.clone(), s.clone(), b.clone(), a.clone());
    s.cast(
        &a,
        act(move |_, _| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                let _ = s1.terminate(&b2).await;
                1
            })
        }),
    )
    .unwrap();
    s.cast(
        &b,
        act(move |_, _| {
            Box::pin(async move {
                tokio::task::yield_now().await;
                let _ = s2.call(&a2, Note(1)).await;
                1
            })
        }),
    )
    .unwrap();
    let s2 = s.clone();
    let t = std::time::Instant::now();
    in_time("x", until(move || s2.stats().sessions == 1)).await;
    assert!(t.elapsed() < SECOND, "took {:?}", t.elapsed());
}
// kill during an inline handler: hook must not run
#[tokio::test]
async fn kill_from_its_own_handler_runs_no_hook() {
    let s = puppets();
    let a = id("a");
    let o = Opts::default();
    s.start_with(&a, o.clone()).await.unwrap();
    let s2 = s.clone();
    let r = in_time(
        "call",
        s.call(
            &a,
            act(move |_, cx| {
                s2.kill(&cx.session_id()).unwrap();
                Box::pin(async { 1 })
            }),
        ),
    )
    .await;
    assert!(r.is_ok(), "it has begun, and doesn't wait");
    assert_eq!(s.stats().sessions, 0);
    assert_eq!(o.hooks.load(Ordering::SeqCst), 0, "kill: the hook doesn't run");
}
// touch/rotate of a starting session
#[tokio::test]
async fn one_that_is_starting_can_neither_be_touched_nor_rotated() {
    let s = puppets();
    let a = id("a");
    let g = Gate::new();
    let (r, ()) = tokio::join!(
        s.start_with(
            &a,
            Opts {
                init_gate: Some(g.clone()),
                ..Opts::default()
            }
        ),
        async {
            g.reached().await;
            assert!(!s.is_started(&a));
            assert!(s.touch(&a).is_err());
            assert!(s.rotate(&a).await.is_err());
            g.open();
        }
    );
    assert!(r.unwrap());
    assert!(s.is_started(&a), "start said true, and the id is not started");
}

struct Heavy;
struct BombReply;
impl Drop for BombReply {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("drop of reply")
        }
    }
}
struct Boom(Gate);
impl Handle<Boom> for Puppet {
    type Reply = BombReply;
    async fn handle(&mut self, Boom(g): Boom, _: &mut Context<Self>) -> BombReply {
        g.pass().await;
        BombReply
    }
}
#[tokio::test]
async fn a_reply_whose_drop_panics_after_its_caller_left_ends_no_session() {
    let s = puppets();
    let a = id("a");
    let g = Gate::new();
    let o = Opts::default();
    s.start_with(&a, o.clone()).await.unwrap();
    let mut m = s.monitor(&a).unwrap();
    let t = tokio::spawn({
        let (s, a, g) = (s.clone(), a.clone(), g.clone());
        async move {
            let _r = s.call(&a, Boom(g)).await;
        }
    });
    g.reached().await;
    t.abort();
    let _ = t.await;
    g.open();
    for _ in 0..50 {
        tokio::task::yield_now().await
    }
    assert!(
        s.is_started(&a) || o.hooks.load(Ordering::SeqCst) == 1,
        "ended without its hook: {:?}",
        in_time("m", m.ended()).await
    );
}
#[tokio::test]
async fn a_panic_whose_payload_panics_when_it_is_dropped_is_a_crash_like_others() {
    struct P;
    impl Drop for P {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("drop of payload")
            }
        }
    }
    let s = puppets();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    let r = tokio::spawn({
        let (s, a) = (s.clone(), a.clone());
        async move {
            s.call(&a, act(|_, _| std::panic::panic_any(P)))
                .await
                .map_err(|e| e.kind())
        }
    })
    .await;
    let later = s.call(&a, Note(1)).await.map_err(|e| e.kind());
    assert_eq!(r.unwrap(), Err("crashed"));
    assert_eq!(later, Ok(vec![1]));
}
// cycle
struct Holder {
    _s: Option<Sessions<Holder>>,
    _w: Arc<()>,
}
impl Process for Holder {}
#[derive(Clone)]
struct HArgs(Arc<()>);
impl Init<HArgs> for Holder {
    async fn init(a: HArgs, _: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self { _s: None, _w: a.0 })
    }
}
struct Give(Sessions<Holder>);
impl Handle<Give> for Holder {
    type Reply = ();
    async fn handle(&mut self, g: Give, _: &mut Context<Self>) {
        self._s = Some(g.0)
    }
}
// general stress
#[derive(Default)]
struct W {
    inits: AtomicUsize,
    hooks: AtomicUsize,
    drops: AtomicUsize,
    overlap: AtomicUsize,
}
struct Sp {
    w: Arc<W>,
    busy: Arc<AtomicBool>,
    last: std::collections::HashMap<u64, u64>,
}
impl Drop for Sp {
    fn drop(&mut self) {
        self.w.drops.fetch_add(1, Ordering::SeqCst);
    }
}
impl Process for Sp {
    const RESTART: Restart = Restart::OnFailure {
        max_restarts: 1000000,
        within: Duration::from_secs(60),
    };
    async fn terminate(&mut self, r: EndReason, _: &mut Context<Self>) {
        if self.busy.swap(true, Ordering::SeqCst) && r != EndReason::Crashed {
            self.w.overlap.fetch_add(1, Ordering::SeqCst);
        }
        self.w.hooks.fetch_add(1, Ordering::SeqCst);
        if self.w.hooks.load(Ordering::SeqCst) % 3 == 0 {
            tokio::task::yield_now().await
        }
    }
}
impl Init<Arc<W>> for Sp {
    async fn init(w: Arc<W>, _: &mut Context<Self>) -> Result<Self, InitError> {
        let n = w.inits.load(Ordering::SeqCst);
        if n % 7 == 3 {
            tokio::task::yield_now().await
        }
        if n % 11 == 5 {
            w.inits.fetch_add(1, Ordering::SeqCst);
            w.hooks.fetch_add(1, Ordering::SeqCst);
            w.drops.fetch_add(1, Ordering::SeqCst);
            return Err("x".into());
        }
        w.inits.fetch_add(1, Ordering::SeqCst);
        Ok(Sp {
            w,
            busy: Arc::default(),
            last: Default::default(),
        })
    }
}
struct Op {
    who: u64,
    seq: u64,
    kind: u64,
}
impl Handle<Op> for Sp {
    type Reply = bool;
    async fn handle(&mut self, op: Op, cx: &mut Context<Self>) -> bool {
        if self.busy.swap(true, Ordering::SeqCst) {
            self.w.overlap.fetch_add(1, Ordering::SeqCst);
        }
        let last = self.last.insert(op.who, op.seq);
        let ok = last.is_none_or(|l| l < op.seq);
        if op.kind % 4 == 1 {
            tokio::task::yield_now().await
        }
        if op.kind % 97 == 5 {
            panic!("x")
        }
        if op.kind % 89 == 5 {
            cx.stop(EndReason::Stopped)
        }
        if op.kind % 31 == 5 {
            cx.send_after(
                Duration::ZERO,
                Op {
                    who: 1 << 40,
                    seq: u64::MAX,
                    kind: 0,
                },
            );
            self.last.remove(&(1 << 40));
        }
        self.busy.store(false, Ordering::SeqCst);
        ok
    }
}
async fn stress(kill: bool, secs: u64) {
    std::panic::set_hook(Box::new(|i| {
        if !i.to_string().ends_with("x") {
            eprintln!("{i}")
        }
    }));
    let s = Sessions::<Sp>::builder()
        .max_sessions(20)
        .idle_timeout(Duration::from_millis(40))
        .sweep_interval(Duration::from_millis(5))
        .build()
        .unwrap();
    let w = Arc::new(W::default());
    let bad = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let ts: Vec<_> = (0..12u64)
        .map(|t| {
            let (s, w, bad, stop) = (s.clone(), w.clone(), bad.clone(), stop.clone());
            tokio::spawn(async move {
                let mut n = t * 7919 + 1;
                let mut seq = 0;
                let mut ops = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ops += 1;
                    let r = n >> 33;
                    let i = id(&format!("s{}", r % 24));
                    seq += 1;
                    let op = Op {
                        who: t,
                        seq,
                        kind: r / 100,
                    };
                    if s.stats().sessions > 20 {
                        bad.fetch_add(1000, Ordering::SeqCst);
                    }
                    match (r / 24) % 40 {
                        0 => {
                            let _ = s.terminate(&i).await;
                        }
                        1 => {
                            let _ = tokio::time::timeout(Duration::from_micros(r % 50), s.terminate(&i)).await;
                        }
                        2..=6 => {
                            let _ = s.start_with(&i, w.clone()).await;
                        }
                        7 => {
                            let _ =
                                tokio::time::timeout(Duration::from_micros(r % 50), s.start_with(&i, w.clone())).await;
                        }
                        8 if kill => {
                            let _ = s.kill(&i);
                        }
                        9 => {
                            let _ = s.rotate_to(&i, &id(&format!("s{}", (r / 7) % 24))).await;
                        }
                        10 => {
                            s.expire_now().await;
                        }
                        11 => {
                            if let Ok(mut m) = s.monitor(&i) {
                                let _ = tokio::time::timeout(Duration::from_micros(r % 200), m.ended()).await;
                            }
                        }
                        12..=20 => {
                            let _ = s.cast(&i, op);
                        }
                        21..=24 => {
                            let _ = tokio::time::timeout(Duration::from_micros(r % 50), s.call(&i, op)).await;
                        }
                        _ => match s.call(&i, op).await {
                            Ok(true) => {}
                            Ok(false) => {
                                bad.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(e) if e.kind() == "timeout" => {
                                bad.fetch_add(100, Ordering::SeqCst);
                            }
                            Err(_) => {}
                        },
                    }
                    if ops % 16 == 0 {
                        tokio::task::yield_now().await
                    }
                }
                ops
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(secs)).await;
    stop.store(true, Ordering::SeqCst);
    let mut ops = 0;
    for t in ts {
        ops += tokio::time::timeout(Duration::from_secs(20), t)
            .await
            .expect("HANG of a caller")
            .unwrap();
    }
    let r = s.shutdown(Duration::from_secs(5)).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(1)).await
    }
    assert!(ops > 1_000, "{ops}: it was busy");
    assert_eq!(s.stats().sessions, 0);
    assert!(r.cut.is_empty());
    assert_eq!(bad.load(Ordering::SeqCst), 0);
    assert_eq!(w.overlap.load(Ordering::SeqCst), 0);
    if !kill {
        assert_eq!(w.inits.load(Ordering::SeqCst), w.hooks.load(Ordering::SeqCst));
    }
    assert_eq!(w.inits.load(Ordering::SeqCst), w.drops.load(Ordering::SeqCst));
}
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_many_threads_do_each_init_has_one_hook_and_one_drop() {
    stress(false, 2).await
}
#[tokio::test]
async fn whatever_many_tasks_of_one_thread_do_each_init_has_one_hook_and_one_drop() {
    stress(false, 1).await
}
// kill after races of spawn: the stale abort handle
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn kill_cuts_off_whoever_is_at_work() {
    struct Y;
    impl Handle<Y> for Puppet {
        type Reply = ();
        async fn handle(&mut self, _: Y, _: &mut Context<Self>) {
            tokio::task::yield_now().await
        }
    }
    let s = Sessions::<Puppet>::builder().mailbox_capacity(100000).build().unwrap();
    let t = std::time::Instant::now();
    let mut rounds = 0;
    while t.elapsed() < Duration::from_secs(5) {
        rounds += 1;
        let a = id(&format!("k{rounds}"));
        s.start_with(&a, Opts::default()).await.unwrap();
        let ts: Vec<_> = (0..4)
            .map(|_| {
                let (s, a) = (s.clone(), a.clone());
                tokio::spawn(async move {
                    for _ in 0..20 {
                        let _ = s.call(&a, Y).await;
                    }
                })
            })
            .collect();
        for t in ts {
            t.await.unwrap()
        }
        let g = Gate::new();
        let g2 = g.clone();
        s.cast(
            &a,
            act(move |_, _| {
                Box::pin(async move {
                    g2.pass().await;
                    1
                })
            }),
        )
        .unwrap();
        g.reached().await;
        s.kill(&a).unwrap();
        let k = std::time::Instant::now();
        while s.stats().sessions != 0 {
            if k.elapsed() > T {
                panic!("HANG: kill didn't cut, round {rounds}")
            }
            tokio::task::yield_now().await
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shorter_idle_timeout_is_heard_while_the_session_is_swept() {
    for round in 0..6 {
        let s = Sessions::<Puppet>::builder()
            .sweep_interval(Duration::from_millis(1))
            .idle_timeout(Duration::from_millis(900))
            .build()
            .unwrap();
        for n in 0..40 {
            let i = id(&format!("r{round}-{n}"));
            s.start_with(&i, Opts::default()).await.unwrap();
            s.set_idle_timeout(&i, Some(HOUR)).unwrap();
        }
        for n in 0..40 {
            let i = id(&format!("r{round}-{n}"));
            let s = s.clone();
            tokio::task::spawn_blocking(move || {
                std::thread::sleep(Duration::from_millis(n * 3));
                let _ = s.set_idle_timeout(&i, Some(Duration::from_millis(100)));
            });
        }
        in_the_end("expired, and the sweeper won't look for an hour", || {
            s.stats().sessions == 0
        })
        .await;
    }
}
// hook future whose locals panic in drop when it is cut
#[tokio::test]
async fn a_hook_that_is_cut_and_panics_when_it_is_dropped_doesnt_prevent_the_restart() {
    struct H(Arc<AtomicUsize>);
    impl Process for H {
        async fn terminate(&mut self, _: EndReason, _: &mut Context<Self>) {
            let _b = Bomb;
            self.0.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await
        }
    }
    impl Init<Arc<AtomicUsize>> for H {
        async fn init(a: Arc<AtomicUsize>, _: &mut Context<Self>) -> Result<Self, InitError> {
            Ok(H(a))
        }
    }
    impl Handle<Note> for H {
        type Reply = ();
        async fn handle(&mut self, _: Note, _: &mut Context<Self>) {
            panic!("c")
        }
    }
    let s = Sessions::<H>::builder()
        .terminate_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let a = id("a");
    s.start_with(&a, Arc::default()).await.unwrap();
    let _ = s.call(&a, Note(1)).await;
    in_the_end("it is restarted, though the hook's drop panicked", || s.is_started(&a)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_aborts_the_task_at_work_and_not_the_one_before() {
    struct Y;
    impl Handle<Y> for Puppet {
        type Reply = ();
        async fn handle(&mut self, _: Y, _: &mut Context<Self>) {
            tokio::task::yield_now().await
        }
    }
    let s = puppets();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    let rt = tokio::runtime::Handle::current();
    let t = std::thread::Builder::new()
        .name("slow".into())
        .spawn({
            let (s, a) = (s.clone(), a.clone());
            move || {
                let _g = rt.enter();
                s.cast(&a, Y).unwrap()
            }
        })
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // Y is handled; `slow` stands between spawn and `running = `
    assert!(!s.session_stats(&a).unwrap().running);
    let g = Gate::new();
    let g2 = g.clone();
    s.cast(
        &a,
        act(move |_, _| {
            Box::pin(async move {
                g2.pass().await;
                1
            })
        }),
    )
    .unwrap();
    g.reached().await;
    t.join().unwrap();
    let mut m = s.monitor(&a).unwrap();
    s.kill(&a).unwrap();
    in_time("kill aborted a task that was long done", m.ended()).await;
}
struct Nosy {
    s: Sessions<Nosy>,
    me: SessionId,
}
impl Process for Nosy {}
impl Drop for Nosy {
    fn drop(&mut self) {
        let s = &self.s;
        let _ = s.cast(&self.me, Add(1));
        let _ = s.touch(&self.me);
        // A volatile session is rotated in the first poll.
        let _ = std::pin::pin!(s.rotate(&self.me)).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        let _ = s.kill(&self.me);
        let _ = s.list();
        let _ = s.monitor(&self.me);
        let _ = s.stats();
        let _ = s.find(|i| {
            s.is_started(i);
            let _ = s.touch(i);
            true
        });
        let _ = s.cast(&id("other"), Add(1));
    }
}
#[derive(Clone)]
struct NosyArgs(Sessions<Nosy>);
impl Init<NosyArgs> for Nosy {
    async fn init(a: NosyArgs, cx: &mut Context<Self>) -> Result<Self, InitError> {
        let me = cx.session_id();
        let r = a.0.start_with(&me, NosyArgs(a.0.clone())).await;
        assert!(matches!(r, Ok(false) | Err(StartError::SelfCall { .. })));
        Ok(Nosy { s: a.0, me })
    }
}
impl Handle<Add> for Nosy {
    type Reply = ();
    async fn handle(&mut self, _: Add, _: &mut Context<Self>) {}
}
impl Handle<Panic> for Nosy {
    type Reply = ();
    async fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("as told")
    }
}
#[tokio::test]
async fn a_session_is_worked_on_from_within_itself() {
    let s = Sessions::<Nosy>::builder().build().unwrap();
    for n in ["a", "b", "other"] {
        s.start_with(&id(n), NosyArgs(s.clone())).await.unwrap();
    }
    in_time("t", s.terminate(&id("a"))).await.unwrap();
    let _ = in_time("p", s.call(&id("b"), Panic)).await;
    in_time("c", s.call(&id("b"), Add(1))).await.unwrap();
    let _ = in_time("s", s.shutdown(SECOND)).await;
    assert_eq!(s.stats().sessions, 0);
}
#[tokio::test]
async fn the_longest_durations_are_no_overflow() {
    let m = Duration::MAX;
    let s = Sessions::<Puppet>::builder()
        .idle_timeout(m)
        .max_lifetime(m)
        .call_timeout(m)
        .terminate_timeout(m)
        .build()
        .unwrap();
    let a = id("a");
    s.start_with(&a, Opts::default()).await.unwrap();
    s.call(
        &a,
        act(move |_, cx| {
            cx.send_after(m, Note(1));
            cx.send_interval(m, Note(2));
            cx.send_after(Duration::ZERO, Note(3));
            Box::pin(async {
                tokio::task::yield_now().await;
                1
            })
        }),
    )
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(s.call_within(&a, Note(4), m).await.unwrap(), [3, 4]);
    assert!(s.call_within(&a, Note(5), Duration::ZERO).await.is_ok());
    let _ = in_time("s", s.shutdown(m)).await;
    assert_eq!(s.stats().sessions, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_by_many_threads_each_init_has_one_drop() {
    stress(true, 2).await
}
#[tokio::test]
async fn killed_by_many_tasks_of_one_thread_each_init_has_one_drop() {
    stress(true, 1).await
}

/// What a panic leaves may panic in turn, when it is dropped.
struct BombPayload;

impl Drop for BombPayload {
    fn drop(&mut self) {
        panic!("a payload that panics");
    }
}

#[derive(Default)]
struct Plain;

impl Process for Plain {}

struct Ping;

impl Handle<Ping> for Plain {
    type Reply = ();

    async fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

struct LooksOnce(bool);

impl Observer<Plain> for LooksOnce {
    fn look(&mut self, _: &Plain) {
        if std::mem::replace(&mut self.0, true) {
            std::panic::panic_any(BombPayload);
        }
    }

    fn publish(&mut self) {}
}

#[tokio::test]
async fn an_observer_that_panics_with_a_payload_that_panics_leaves_the_session_working() {
    let sessions = Sessions::<Plain>::builder().build().unwrap();
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    sessions.observe(&id, LooksOnce(false)).await.unwrap();
    for _ in 0..2 {
        in_time("call", sessions.call(&id, Ping)).await.unwrap();
    }
}

struct GiveBomb;

impl Handle<GiveBomb> for Plain {
    type Reply = ReplyThatPanics;

    async fn handle(&mut self, _: GiveBomb, _: &mut Context<Self>) -> ReplyThatPanics {
        ReplyThatPanics
    }
}

struct ReplyThatPanics;

impl Drop for ReplyThatPanics {
    fn drop(&mut self) {
        panic!("a reply that nobody wants");
    }
}

#[tokio::test]
async fn a_reply_that_panics_is_not_the_senders_affair() {
    let sessions = Sessions::<Plain>::builder().build().unwrap();
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    sessions.cast(&id, GiveBomb).unwrap();
    in_time("call", sessions.call(&id, Ping)).await.unwrap();
}

/// Kills its session, waits, and panics when it is dropped.
struct KillsAndWaits(Sessions<Plain>, SessionId, bool);

impl Future for KillsAndWaits {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        if !std::mem::replace(&mut self.2, true) {
            self.0.kill(&self.1).unwrap();
        }
        std::task::Poll::Pending
    }
}

impl Drop for KillsAndWaits {
    fn drop(&mut self) {
        panic!("a handler that was killed");
    }
}

struct KillYourself(Sessions<Plain>, SessionId);

impl Handle<KillYourself> for Plain {
    type Reply = ();

    async fn handle(&mut self, KillYourself(sessions, id): KillYourself, _: &mut Context<Self>) {
        KillsAndWaits(sessions, id, false).await;
    }
}

#[tokio::test]
async fn a_killed_handler_whose_drop_panics_is_not_the_senders_affair() {
    let sessions = Sessions::<Plain>::builder().build().unwrap();
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    let mut monitor = sessions.monitor(&id).unwrap();
    sessions.cast(&id, KillYourself(sessions.clone(), id.clone())).unwrap();
    in_time("end", monitor.ended()).await;
    assert!(!sessions.is_started(&id));
}

/// A handler that posts a message, waits until that is in the queue behind it, and then does what is `last`.
async fn post_behind(
    post: impl FnOnce(&mut Context<Puppet>) + Send + 'static,
    last: impl FnOnce(&mut Context<Puppet>) + Send + 'static,
) -> (Sessions<Puppet>, SessionId) {
    let (sessions, id) = (puppets(), id("a"));
    sessions.start_with(&id, Opts::default()).await.unwrap();
    let handler = act(move |_, cx| {
        post(cx);
        Box::pin(async move {
            // The timer has only this thread to run on.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            last(cx);
            7
        })
    });
    let handled = in_time("the handler", sessions.call(&id, handler)).await;
    assert_eq!(handled.unwrap(), 7);
    (sessions, id)
}

#[tokio::test]
async fn a_posted_message_that_panics_when_it_is_refused_strands_nobody() {
    let (sessions, id) = post_behind(
        |cx| {
            cx.send_after(Duration::ZERO, Bomb);
        },
        |cx| cx.stop(EndReason::Stopped),
    )
    .await;
    in_time("the end", async {
        let _ = sessions.terminate(&id).await;
    })
    .await;
    assert_eq!(sessions.stats().sessions, 0);
}

#[tokio::test]
async fn a_reply_to_a_posted_message_that_panics_when_it_is_dropped_ends_no_session() {
    let open = Gate::new();
    open.open();
    let (sessions, id) = post_behind(
        |cx| {
            cx.send_after(Duration::ZERO, Boom(open));
        },
        |_| (),
    )
    .await;
    let noted = in_time("the next call", sessions.call(&id, Note(1))).await;
    assert_eq!(noted.unwrap(), [1]);
    assert!(sessions.is_started(&id));
}
