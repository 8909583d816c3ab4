//! Idle timeout and lifetime: exact at use, swept in the background, never in the middle of a handler.

use session_process::{
    CallError, Context, EndReason, Event, Expiry, Handle, ManualClock, SessionId, Sessions, StartOptions,
};
use testkit::Gate;

use crate::support::*;

#[tokio::test]
async fn an_expired_session_is_never_served() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR).sweep_interval(1_000 * HOUR));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    clock.advance(HOUR - std::time::Duration::from_nanos(1));
    sessions.call(&a, Add(1)).await.unwrap();
    clock.advance(HOUR);
    assert!(!sessions.is_started(&a));
    assert!(sessions.list().is_empty());
    assert!(sessions.touch(&a).is_err());
    let error = sessions.call(&a, Add(1)).await.unwrap_err();
    assert!(matches!(error, CallError::NotStarted { .. }));
    assert_eq!(
        monitor.ended().await,
        EndReason::Expired(Expiry::Idle),
        "no sweeper was needed"
    );
    assert!(sessions.start(&a).await.unwrap());
    assert_eq!(sessions.call(&a, Log).await.unwrap(), Vec::<u64>::new(), "a new life");
}

impl session_process::Handle<u64> for Counter {
    type Reply = ();

    async fn handle(&mut self, n: u64, _: &mut session_process::Context<Self>) {
        self.sum += n;
    }
}

#[tokio::test]
async fn each_kind_of_use_refreshes_the_idle_time_and_nothing_else_does() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let minutes_59 = HOUR - 60 * SECOND;
    clock.advance(minutes_59);
    sessions.call(&a, Add(1)).await.unwrap();
    clock.advance(minutes_59);
    sessions.cast(&a, Add(1)).unwrap();
    clock.advance(minutes_59);
    sessions.touch(&a).unwrap();
    clock.advance(minutes_59);
    assert!(!sessions.start(&a).await.unwrap());
    clock.advance(minutes_59);
    // Looking is not using; nor is a broadcast, which the user had no part in.
    assert!(sessions.is_started(&a));
    let _monitor = sessions.monitor(&a).unwrap();
    assert_eq!(sessions.session_stats(&a).unwrap().idle_for, minutes_59);
    assert_eq!(sessions.broadcast(5u64).await, 1);
    clock.advance(60 * SECOND);
    assert!(!sessions.is_started(&a));
}

#[tokio::test]
async fn the_lifetime_ends_a_session_however_much_it_is_used() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR).max_lifetime(3 * HOUR));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    for _ in 0..5 {
        clock.advance(HOUR / 2);
        sessions.call(&a, Add(1)).await.unwrap();
    }
    clock.advance(HOUR / 2);
    assert!(sessions.call(&a, Add(1)).await.is_err());
    assert_eq!(monitor.ended().await, EndReason::Expired(Expiry::Absolute));
}

#[tokio::test]
async fn both_limits_can_be_set_for_one_session() {
    let (sessions, clock) = with_clock::<Counter>(|builder| {
        // The sweeper would take some of those that are counted below.
        let builder = builder.sweep_interval(1_000 * HOUR);
        builder.idle_timeout(HOUR).max_lifetime(10 * HOUR)
    });
    let short = StartOptions::new().idle_timeout(SECOND);
    let endless = StartOptions::new().idle_timeout(None).max_lifetime(None);
    sessions.start_with_options(&id("short"), (), &short).await.unwrap();
    sessions.start_with_options(&id("endless"), (), &endless).await.unwrap();
    for name in ["a", "b", "c"] {
        sessions.start(&id(name)).await.unwrap();
    }
    sessions.set_idle_timeout(&id("a"), None).unwrap();
    sessions.set_max_lifetime(&id("b"), Some(2 * SECOND)).unwrap();
    clock.advance(SECOND);
    assert!(!sessions.is_started(&id("short")));
    clock.advance(SECOND);
    assert!(!sessions.is_started(&id("b")));
    clock.advance(HOUR);
    assert!(!sessions.is_started(&id("c")));
    assert!(sessions.is_started(&id("a")));
    clock.advance(10 * HOUR);
    assert!(!sessions.is_started(&id("a")));
    assert!(sessions.is_started(&id("endless")));
    assert_eq!(sessions.expire_now().await, 4);
    assert_eq!(sessions.stats().sessions, 1);
}

#[tokio::test]
async fn the_sweeper_ends_expired_sessions_that_nobody_asks_for() {
    let (sessions, clock) = with_clock::<Witness>(|builder| builder.idle_timeout(HOUR).sweep_interval(SECOND));
    let (told, mut ends) = told();
    sessions.start_with(&id("a"), told.clone()).await.unwrap();
    sessions.start_with(&id("b"), told).await.unwrap();
    sessions.set_idle_timeout(&id("b"), Some(2 * HOUR)).unwrap();
    let mut events = sessions.events();
    clock.advance(HOUR);
    assert_eq!(ends.recv().await, Some(EndReason::Expired(Expiry::Idle)));
    let swept = events.find(|event| match event {
        Event::Swept { expired, .. } => Some(*expired),
        _ => None,
    });
    assert_eq!(swept.await, Some(1));
    assert_eq!(sessions.stats().sessions, 1);
    // Brought forward: the sweeper hears of it.
    sessions.set_idle_timeout(&id("b"), Some(HOUR + SECOND)).unwrap();
    clock.advance(2 * SECOND);
    assert_eq!(ends.recv().await, Some(EndReason::Expired(Expiry::Idle)));
}

#[tokio::test]
async fn a_handler_in_progress_is_never_cut_by_expiry() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(SECOND).call_timeout(100 * HOUR));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = Gate::new();
    let (reply, ()) = tokio::join!(sessions.call(&a, AddAt(gate.clone(), 7)), async {
        gate.reached().await;
        clock.advance(HOUR);
        assert_eq!(sessions.expire_now().await, 0);
        assert!(sessions.is_started(&a), "it is in use");
        gate.open();
    });
    assert_eq!(reply.unwrap(), 7);
    assert!(sessions.is_started(&a), "its idle time begins when the handler ends");
    // The same at the end of its lifetime: the handler completes, what waits is refused.
    sessions.set_max_lifetime(&a, Some(2 * HOUR)).unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    let (reply, waiting, ()) = tokio::join!(
        sessions.call(&a, AddAt(gate.clone(), 1)),
        sessions.call(&a, Add(1)),
        async {
            gate.reached().await;
            until(|| sessions.session_stats(&a).unwrap().waiting == 1).await;
            clock.advance(HOUR);
            assert_eq!(sessions.expire_now().await, 1);
            gate.open();
        }
    );
    assert_eq!(reply.unwrap(), 8);
    assert!(waiting.unwrap_err().into_message().is_some());
    assert_eq!(monitor.ended().await, EndReason::Expired(Expiry::Absolute));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn expiry_racing_with_calls_serves_them_whole_or_not_at_all() {
    // No call may time out: the clock runs fast here.
    let (sessions, clock) =
        with_clock::<Counter>(|builder| builder.idle_timeout(SECOND).call_timeout(1_000_000 * HOUR));
    for round in 0..300 {
        let a = id(&format!("a{round}"));
        sessions.start(&a).await.unwrap();
        let mut monitor = sessions.monitor(&a).unwrap();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (sessions, a) = (sessions.clone(), a.clone());
                tokio::spawn(async move {
                    let mut served = 0u64;
                    while let Ok(sum) = sessions.call(&a, Add(1)).await {
                        assert!(sum > served, "the same life");
                        served = sum;
                        tokio::task::yield_now().await;
                    }
                    // Once refused, refused for good.
                    assert!(sessions.call(&a, Add(1)).await.is_err());
                })
            })
            .collect();
        clock.advance(SECOND / 2);
        let sweeper = {
            let (sessions, clock) = (sessions.clone(), clock.clone());
            tokio::spawn(async move {
                clock.advance(SECOND);
                sessions.expire_now().await;
            })
        };
        sweeper.await.unwrap();
        // Callers may have kept it alive; without them it ends.
        while sessions.is_started(&a) {
            clock.advance(SECOND);
            sessions.expire_now().await;
        }
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(monitor.ended().await, EndReason::Expired(Expiry::Idle));
    }
    assert_eq!(sessions.stats().sessions, 0);
}

/// Takes as long as the session may idle before it first waits, and looks whether the session is still there.
struct Late(ManualClock, Sessions<Counter>, SessionId, Gate);

impl Handle<Late> for Counter {
    type Reply = ();
    async fn handle(&mut self, Late(clock, sessions, id, gate): Late, _: &mut Context<Self>) {
        clock.advance(HOUR);
        assert!(!sessions.is_started(&id));
        gate.pass().await;
    }
}

/// Who was told that it has expired is not told otherwise, and nobody waits for what is at work there.
#[tokio::test]
async fn a_session_that_expired_under_a_handler_serves_nobody_else() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR));
    let (a, gate) = (id("a"), Gate::new());
    sessions.start(&a).await.unwrap();
    let mut monitor = sessions.monitor(&a).unwrap();
    let late = {
        let (sessions, a, gate) = (sessions.clone(), a.clone(), gate.clone());
        tokio::spawn(async move { sessions.call(&a, Late(clock, sessions.clone(), a.clone(), gate)).await })
    };
    gate.reached().await;
    assert!(!sessions.is_started(&a));
    assert_eq!(sessions.call(&a, Add(1)).await.unwrap_err().kind(), "not_started");
    sessions.expire_now().await;
    assert_eq!(sessions.call(&a, Add(1)).await.unwrap_err().kind(), "not_started");
    gate.open();
    late.await.unwrap().unwrap();
    assert_eq!(monitor.ended().await, EndReason::Expired(Expiry::Idle));
}

#[tokio::test]
async fn a_clock_that_goes_backwards_expires_nothing_and_revives_nothing() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR));
    clock.set(10 * HOUR);
    let (a, b) = (id("a"), id("b"));
    sessions.start(&a).await.unwrap();
    clock.set(HOUR);
    sessions.start(&b).await.unwrap();
    assert_eq!(sessions.expire_now().await, 0);
    sessions.call(&a, Add(1)).await.unwrap();
    sessions.call(&b, Add(1)).await.unwrap();
    clock.set(2 * HOUR);
    assert!(sessions.is_started(&a));
    assert!(sessions.call(&b, Add(1)).await.is_err());
    clock.set(HOUR);
    assert!(sessions.call(&b, Add(1)).await.is_err(), "expired is expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_that_expire_at_once_end_in_slices() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR).sweep_interval(1_000 * HOUR));
    for n in 0..50_000 {
        sessions.start(&id(&format!("old-{n}"))).await.unwrap();
    }
    clock.advance(HOUR);
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let sweeping = {
        let sessions = sessions.clone();
        tokio::spawn(async move { sessions.expire_now().await })
    };
    let mut served = 0;
    while !sweeping.is_finished() {
        sessions.call(&a, Add(1)).await.unwrap();
        served += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(sweeping.await.unwrap(), 50_000);
    assert!(served > 100, "others were served {served} times meanwhile");
    assert_eq!(sessions.stats().sessions, 1);
}

#[tokio::test]
async fn to_terminate_a_session_that_has_expired_is_not_started_by_either_clock() {
    for idle in [true, false] {
        let (idle_timeout, lifetime) = if idle { (Some(HOUR), None) } else { (None, Some(HOUR)) };
        let (sessions, clock) = with_clock::<Counter>(|builder| {
            let builder = builder.sweep_interval(1_000 * HOUR);
            builder.idle_timeout(idle_timeout).max_lifetime(lifetime)
        });
        sessions.start(&id("a")).await.unwrap();
        clock.advance(2 * HOUR);
        assert!(sessions.terminate(&id("a")).await.is_err(), "idle: {idle}");
    }
}

#[tokio::test]
async fn a_handler_that_was_sent_from_outside_the_runtime_keeps_its_session_in_use() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let gate = testkit::Gate::new();
    {
        let (sessions, a, gate) = (sessions.clone(), a.clone(), gate.clone());
        let outside = std::thread::spawn(move || sessions.cast(&a, AddAt(gate, 7)).unwrap());
        outside.join().unwrap();
    }
    gate.reached().await;
    clock.advance(2 * HOUR);
    assert!(sessions.is_started(&a));
    sessions.touch(&a).unwrap();
    assert!(!sessions.start(&a).await.unwrap(), "there is one");
    gate.open();
    assert_eq!(sessions.call(&a, Log).await.unwrap(), [0, 7]);
}
