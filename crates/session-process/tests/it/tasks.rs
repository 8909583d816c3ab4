//! Timers, effects and monitors of a process.

use std::time::Duration;

use session_process::{Context, EndReason, Handle, Monitor, Process, Sessions, TaskKey};
use testkit::Gate;

use crate::support::*;

#[derive(Default)]
struct Clockwork {
    ticks: usize,
    key: Option<TaskKey>,
}

impl Process for Clockwork {}

#[derive(Clone)]
struct Tick;
impl Handle<Tick> for Clockwork {
    type Reply = ();
    async fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        self.ticks += 1;
    }
}

enum Set {
    After(Duration),
    Every(Duration),
    Effect(Gate),
    PanickingEffect,
}
impl Handle<Set> for Clockwork {
    type Reply = ();
    async fn handle(&mut self, set: Set, cx: &mut Context<Self>) {
        self.key = Some(match set {
            Set::After(after) => cx.send_after(after, Tick),
            Set::Every(period) => cx.send_interval(period, Tick),
            Set::Effect(gate) => cx.spawn(async move {
                gate.pass().await;
                Tick
            }),
            Set::PanickingEffect => cx.spawn::<Tick>(async { panic!("as told") }),
        });
    }
}

struct Cancel;
impl Handle<Cancel> for Clockwork {
    type Reply = bool;
    async fn handle(&mut self, _: Cancel, cx: &mut Context<Self>) -> bool {
        self.key.take().is_some_and(|key| cx.cancel(key))
    }
}

struct Ticks;
impl Handle<Ticks> for Clockwork {
    type Reply = usize;
    async fn handle(&mut self, _: Ticks, _: &mut Context<Self>) -> usize {
        self.ticks
    }
}

struct Follow;
impl Handle<Follow> for Clockwork {
    type Reply = (Monitor, usize);
    async fn handle(&mut self, _: Follow, cx: &mut Context<Self>) -> (Monitor, usize) {
        (cx.monitor(), cx.monitors())
    }
}

async fn ticks_become(sessions: &Sessions<Clockwork>, n: usize) {
    while sessions.call(&id("a"), Ticks).await.unwrap() != n {
        tokio::task::yield_now().await;
    }
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn timers_send_messages_and_can_be_cancelled() {
    let (sessions, clock) = with_clock::<Clockwork>(|builder| builder);
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.call(&a, Set::After(SECOND)).await.unwrap();
    settle().await;
    clock.advance(SECOND);
    ticks_become(&sessions, 1).await;
    assert!(!sessions.call(&a, Cancel).await.unwrap(), "it has gone off");
    assert_eq!(sessions.session_stats(&a).unwrap().tasks, 0);

    sessions.call(&a, Set::Every(SECOND)).await.unwrap();
    for n in 2..6 {
        settle().await;
        clock.advance(SECOND);
        ticks_become(&sessions, n).await;
    }
    assert!(sessions.call(&a, Cancel).await.unwrap());
    clock.advance(10 * SECOND);
    settle().await;
    assert_eq!(sessions.call(&a, Ticks).await.unwrap(), 5);
}

#[tokio::test]
async fn a_timer_does_not_keep_its_session_alive_and_ends_with_it() {
    let (sessions, clock) = with_clock::<Clockwork>(|builder| builder.idle_timeout(10 * SECOND));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.call(&a, Set::Every(SECOND)).await.unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    for _ in 0..10 {
        settle().await;
        assert_eq!(monitor.reason(), None);
        clock.advance(SECOND);
    }
    assert_eq!(
        monitor.ended().await,
        EndReason::Expired(session_process::Expiry::Idle),
        "though it ticked all the time"
    );
}

#[tokio::test]
async fn an_effect_returns_as_a_message_and_is_cancelled_at_the_end() {
    let sessions = Sessions::<Clockwork>::builder().build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    sessions.call(&a, Set::Effect(gate.clone())).await.unwrap();
    gate.reached().await;
    assert_eq!(
        sessions.call(&a, Ticks).await.unwrap(),
        0,
        "the process goes on beside it"
    );
    gate.open();
    ticks_become(&sessions, 1).await;
    assert_eq!(sessions.session_stats(&a).unwrap().tasks, 0);

    sessions.call(&a, Set::PanickingEffect).await.unwrap();
    until(|| sessions.session_stats(&a).unwrap().tasks == 0).await;
    assert_eq!(
        sessions.call(&a, Ticks).await.unwrap(),
        1,
        "a panic of an effect is its own affair"
    );

    struct Flag(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    struct Forever(Flag);
    impl Handle<Forever> for Clockwork {
        type Reply = ();
        async fn handle(&mut self, Forever(flag): Forever, cx: &mut Context<Self>) {
            cx.spawn(async move {
                let _flag = flag;
                std::future::pending::<()>().await;
                Tick
            });
        }
    }
    let dropped = std::sync::Arc::default();
    sessions
        .call(&a, Forever(Flag(std::sync::Arc::clone(&dropped))))
        .await
        .unwrap();
    sessions.terminate(&a).await.unwrap();
    until(|| dropped.load(std::sync::atomic::Ordering::Relaxed)).await;
}

#[tokio::test]
async fn monitors_that_go_away_leave_nothing_behind() {
    let sessions = Sessions::<Clockwork>::builder().build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    for _ in 0..10_000 {
        drop(sessions.monitor(&a).unwrap());
    }
    let (mut monitor, _) = sessions.call(&a, Follow).await.unwrap();
    let (second, monitors) = sessions.call(&a, Follow).await.unwrap();
    assert_eq!(monitors, 2, "the process knows its pages");
    drop(second);
    assert_eq!(sessions.session_stats(&a).unwrap().monitors, 1);
    sessions.terminate(&a).await.unwrap();
    assert_eq!(monitor.ended().await, EndReason::Terminated);
}
