//! Phoenix.SessionProcess, row by row: what its documents promise works here. Numbers as in the parity table.

use std::time::Duration;

use session_process::{
    Attributes, CallError, Config, Context, EndReason, Event, Handle, Health, Init, InitError, Process, SessionId,
    Sessions, StartError,
    redux::{self, InitialState, Reducer, Setup, Store},
};

use crate::support::*;

#[tokio::test]
async fn p1_an_engine_is_a_value_many_live_in_one_process_and_shut_down_in_order() {
    let (one, two) = (counters(), counters());
    one.start(&id("a")).await.unwrap();
    assert!(!two.is_started(&id("a")), "they share nothing");
    assert_eq!(one.shutdown(SECOND).await.ended, 1);
    two.start(&id("a")).await.unwrap();
}

#[test]
fn p2_generated_ids_are_unique_random_and_url_safe() {
    let id = SessionId::generate();
    assert!(
        id.expose()
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    );
    // The original has 24 random bytes; so have ours.
    assert_eq!(SessionId::RANDOM_BITS, 24 * 8);
    assert_ne!(id, SessionId::generate());
}

struct Greeter(String);
impl Process for Greeter {}
impl Init<String> for Greeter {
    async fn init(name: String, _: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self(name))
    }
}
struct Greet;
impl Handle<Greet> for Greeter {
    type Reply = String;
    async fn handle(&mut self, _: Greet, _: &mut Context<Self>) -> String {
        format!("hello {}", self.0)
    }
}

#[tokio::test]
async fn p3_start_by_id_by_type_and_with_arguments_and_starting_twice_returns_the_first() {
    let sessions = counters();
    assert!(sessions.start(&id("a")).await.unwrap());
    assert!(!sessions.start(&id("a")).await.unwrap(), "is started already");
    let greeters = sessions.of::<Greeter>();
    greeters.start_with(&id("b"), "Ada".to_owned()).await.unwrap();
    assert!(!greeters.start_with(&id("b"), "Bob".to_owned()).await.unwrap());
    assert_eq!(greeters.call(&id("b"), Greet).await.unwrap(), "hello Ada");
}

#[tokio::test]
async fn p4_call_with_a_timeout_of_15_seconds_and_cast() {
    let sessions = counters();
    sessions.start(&id("a")).await.unwrap();
    assert_eq!(sessions.config().call_timeout, Duration::from_secs(15));
    assert_eq!(sessions.call(&id("a"), Add(1)).await.unwrap(), 1);
    assert_eq!(sessions.call_within(&id("a"), Add(1), SECOND).await.unwrap(), 2);
    sessions.cast(&id("a"), Add(1)).unwrap();
    assert!(
        sessions.cast(&id("b"), Add(1)).is_err(),
        "a cast says when there is no such session"
    );
}

#[tokio::test]
async fn p5_is_started_terminate_list_and_stats() {
    let sessions = counters();
    let mut ids: Vec<SessionId> = (0..1_000).map(|n| id(&format!("s{n}"))).collect();
    assert!(
        sessions
            .start_many(&ids)
            .await
            .iter()
            .all(|result| *result.as_ref().unwrap())
    );
    assert!(sessions.is_started(&ids[0]));
    let sorted = |mut ids: Vec<SessionId>| {
        ids.sort_by(|a, b| a.expose().cmp(b.expose()));
        ids
    };
    assert_eq!(sorted(sessions.list()), sorted(ids.clone()));
    // Page by page, with sessions coming and going in between: those that stay are listed once each.
    let (mut paged, mut next, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = sessions.list_page(next, 64);
        paged.extend(page.ids);
        pages += 1;
        sessions.start(&id(&format!("new{pages}"))).await.unwrap();
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert!(pages >= 15);
    paged.retain(|id| !id.expose().starts_with("new"));
    assert_eq!(sorted(paged), sorted(ids.clone()));
    assert_eq!(
        sessions.find(|id| id.expose().starts_with("s99")).len(),
        11,
        "by pattern"
    );
    let last = ids.pop().unwrap();
    sessions.terminate(&last).await.unwrap();
    assert!(!sessions.is_started(&last));
    assert_eq!(sessions.terminate_many(&ids).await, 999);
    let stats = sessions.stats();
    assert_eq!(stats.sessions, pages);
    assert_eq!(stats.started, 1_000 + pages as u64);
    assert_eq!(sessions.health(), Health::Ok);
}

#[derive(Default)]
struct Full {
    heard: Vec<&'static str>,
}
impl Process for Full {
    async fn terminate(&mut self, reason: EndReason, cx: &mut Context<Self>) {
        let heard = cx
            .extension::<std::sync::Mutex<Vec<String>>>()
            .expect("given to the builder");
        heard.lock().unwrap().push(format!("{:?} and {reason}", self.heard));
    }
}
#[derive(Clone)]
struct Hear(&'static str);
impl Handle<Hear> for Full {
    type Reply = ();
    async fn handle(&mut self, Hear(what): Hear, cx: &mut Context<Self>) {
        self.heard.push(what);
        if what == "set a timer" {
            cx.send_after(Duration::ZERO, Hear("the timer"));
        }
    }
}

#[tokio::test]
async fn p6_a_process_of_ones_own_with_init_messages_timers_and_a_terminate_hook() {
    let log = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let sessions = Sessions::<Full>::builder()
        .extension(std::sync::Mutex::new(Vec::<String>::new()))
        .build()
        .unwrap();
    sessions.start(&id("a")).await.unwrap();
    sessions.call(&id("a"), Hear("a call")).await.unwrap();
    sessions.cast(&id("a"), Hear("set a timer")).unwrap();
    until(|| sessions.session_stats(&id("a")).unwrap().tasks == 0).await;
    struct Read;
    impl Handle<Read> for Full {
        type Reply = Vec<&'static str>;
        async fn handle(&mut self, _: Read, _: &mut Context<Self>) -> Vec<&'static str> {
            self.heard.clone()
        }
    }
    while sessions.call(&id("a"), Read).await.unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        sessions.call(&id("a"), Read).await.unwrap(),
        ["a call", "set a timer", "the timer"]
    );
    sessions.terminate(&id("a")).await.unwrap();
    drop(log);
}

#[tokio::test]
async fn p7_a_process_knows_its_session_id() {
    let sessions = counters();
    let a = SessionId::generate();
    sessions.start(&a).await.unwrap();
    assert_eq!(sessions.call(&a, WhoAmI).await.unwrap(), a);
}

#[tokio::test]
async fn p8_pages_follow_a_session_and_are_told_when_it_ends() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.idle_timeout(HOUR));
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut pages: Vec<_> = (0..3).map(|_| sessions.monitor(&a).unwrap()).collect();
    drop(pages.pop());
    assert_eq!(
        sessions.session_stats(&a).unwrap().monitors,
        2,
        "a page that goes is gone"
    );
    clock.advance(HOUR);
    for mut page in pages {
        assert!(
            matches!(page.ended().await, EndReason::Expired(_)),
            "the sweeper did it"
        );
    }
}

#[tokio::test]
async fn p9_sessions_expire_when_idle_calls_and_touch_refresh_them() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder);
    assert_eq!(sessions.config().idle_timeout, Some(HOUR), "the original's default");
    let a = id("a");
    sessions.start(&a).await.unwrap();
    clock.advance(HOUR - SECOND);
    sessions.touch(&a).unwrap();
    clock.advance(HOUR - SECOND);
    sessions.call(&a, Add(1)).await.unwrap();
    clock.advance(HOUR);
    assert!(!sessions.is_started(&a));
}

#[tokio::test]
async fn p10_session_limit_and_rate_limit_with_the_originals_numbers() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.max_sessions(10_000).rate_limit(100));
    for n in 0..100 {
        sessions.start(&id(&format!("s{n}"))).await.unwrap();
    }
    assert!(matches!(
        sessions.start(&id("x")).await,
        Err(StartError::RateLimit { per_minute: 100, .. })
    ));
    clock.advance(60 * SECOND);
    sessions.start(&id("x")).await.unwrap();
}

#[test]
fn p11_ids_are_validated() {
    assert!("invalid@session".parse::<SessionId>().is_err());
    assert!("valid_session-1".parse::<SessionId>().is_ok());
}

#[tokio::test]
async fn p12_each_error_has_a_variant_and_a_readable_message() {
    let sessions = Sessions::<Counter>::builder().max_sessions(1).build().unwrap();
    let a = id("a");
    let handle = a.public_handle();
    assert_eq!(
        "bad id".parse::<SessionId>().unwrap_err().to_string(),
        "session id has a forbidden byte at position 3 (allowed: A-Z, a-z, 0-9, '-', '_')"
    );
    let not_found = sessions.call(&a, Add(1)).await.unwrap_err();
    assert_eq!(not_found.to_string(), format!("session {handle} is not started"));
    sessions.start(&a).await.unwrap();
    assert_eq!(
        sessions.start(&id("b")).await.unwrap_err().to_string(),
        "session limit reached: 1 sessions are live"
    );
    let crashed = sessions.call(&a, Panic).await.unwrap_err();
    assert_eq!(
        crashed.to_string(),
        format!("the process of session {handle} panicked while it handled this message")
    );
    let timeout = CallError::Timeout {
        id: a,
        within: SECOND,
        message: Some(Add(1)),
    };
    assert_eq!(
        timeout.to_string(),
        format!("session {handle} did not reply within 1s before it came to this message")
    );
}

#[tokio::test]
async fn p13_start_stop_call_cast_and_their_failures_are_events_with_durations() {
    let sessions = counters();
    let mut events = sessions.events();
    sessions.start(&id("a")).await.unwrap();
    sessions.call(&id("a"), Add(1)).await.unwrap();
    sessions.terminate(&id("a")).await.unwrap();
    let mut durations = Vec::new();
    for _ in 0..3 {
        match &*events.recv().await.unwrap().unwrap() {
            Event::Started { took, .. } | Event::Called { took, .. } => durations.push(*took),
            Event::Ended { lifetime, .. } => durations.push(*lifetime),
            other => panic!("{other:?}"),
        }
    }
    assert!(durations[0] > Duration::ZERO && durations[1] > Duration::ZERO);
    assert!(durations[2] < HOUR);
}

#[tokio::test]
async fn p14_agent_state_get_put_whole_state_update_and_reset() {
    let (sessions, clock) = with_clock::<Attributes>(|builder| builder);
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.insert(&a, "user", "Ada").await.unwrap();
    assert_eq!(
        sessions.get::<String>(&a, "user").await.unwrap().as_deref(),
        Some("Ada")
    );
    let count = sessions
        .update(&a, |attributes| {
            attributes.update("count", |n: &mut u32| {
                *n += 1;
                *n
            })
        })
        .await
        .unwrap();
    assert_eq!(count, 1);
    sessions.insert_expiring(&a, "code", 4711, SECOND).await.unwrap();
    let whole = sessions.attributes(&a).await.unwrap().to_json();
    assert_eq!(
        serde_json::Value::from(whole),
        serde_json::json!({ "code": 4711, "count": 1, "user": "Ada" })
    );
    clock.advance(SECOND);
    assert_eq!(
        sessions.get::<u32>(&a, "code").await.unwrap(),
        None,
        "better: an expiry each"
    );
    assert!(sessions.get::<u32>(&a, "user").await.is_err(), "better: typed");
    sessions.clear(&a).await.unwrap();
    assert!(sessions.attributes(&a).await.unwrap().is_empty());
}

#[derive(Clone, Default, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
struct Sum(i64);

impl Reducer for Sum {
    type Action = i64;
    fn reduce(&mut self, n: &i64) {
        self.0 += n;
    }
}

#[tokio::test]
async fn p15_redux_init_dispatch_state_history_of_100_time_travel_reset_middleware_and_persistence() {
    let setup = Setup::<Sum>::new()
        .middleware(redux::Logging)
        .validate(|n, _| if *n < 0 { Err("negative".into()) } else { Ok(()) });
    let sessions = Sessions::<Store<Sum>>::builder().extension(setup).build().unwrap();
    let a = id("a");
    sessions.start_with(&a, InitialState::new(Sum(1000))).await.unwrap();
    for _ in 0..150 {
        sessions.dispatch(&a, 1).await.unwrap();
    }
    assert!(sessions.dispatch(&a, -1).await.is_err());
    assert_eq!(sessions.state(&a).await.unwrap(), Sum(1150));
    let history = sessions.history(&a).await.unwrap();
    assert_eq!((history.steps.len(), history.first), (100, 50));
    sessions.time_travel(&a, 60).await.unwrap();
    assert_eq!(sessions.state(&a).await.unwrap(), Sum(1060));
    sessions.undo(&a).await.unwrap();
    sessions.redo(&a).await.unwrap();
    assert_eq!(sessions.timeline(&a).await.unwrap().moments.len(), 101, "inspection");
    let kept = sessions.export(&a).await.unwrap();
    sessions.reset(&a).await.unwrap();
    assert_eq!(sessions.state(&a).await.unwrap(), Sum(1000), "the initial state");
    // After a restart: the state, and the history still replays.
    let again = Sessions::<Store<Sum>>::builder().build().unwrap();
    again.start(&a).await.unwrap();
    again.import(&a, kept).await.unwrap();
    assert_eq!(again.state(&a).await.unwrap(), Sum(1060));
    assert_eq!(again.state_at(&a, 150).await.unwrap(), Sum(1150));
}

#[test]
fn p16_limits_come_from_a_file_with_clear_errors() {
    let config: Config = serde_json::from_str(
        r#"{ "max_sessions": 10000, "rate_limit": 100, "idle_timeout": "1h", "max_lifetime": "off" }"#,
    )
    .unwrap();
    assert_eq!(config.max_sessions, 10_000);
    assert_eq!(config.idle_timeout, Some(HOUR));
    assert_eq!(config.max_lifetime, None);
    assert_eq!(
        config.call_timeout,
        Config::default().call_timeout,
        "the rest keeps its default"
    );
    let again: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let error = serde_json::from_str::<Config>(r#"{ "idle_timeout": "soon" }"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("soon") && error.contains("1h"), "{error}");
    assert!(
        serde_json::from_str::<Config>(r#"{ "session_ttl": 1 }"#)
            .unwrap_err()
            .to_string()
            .contains("session_ttl")
    );
}

#[tokio::test]
async fn p18_a_crash_restarts_that_session_alone() {
    let sessions = counters();
    for name in ["a", "b", "c"] {
        sessions.start(&id(name)).await.unwrap();
        sessions.call(&id(name), Add(5)).await.unwrap();
    }
    sessions.call(&id("b"), Panic).await.unwrap_err();
    let mut sums = Vec::new();
    for name in ["a", "b", "c"] {
        sums.push(sessions.call(&id(name), Add(0)).await.unwrap());
    }
    assert_eq!(sums, [5, 0, 5]);
}

redux::combine! {
    #[derive(Clone, Default, PartialEq, Debug)]
    struct Two => #[derive(serde::Deserialize)] #[serde(rename_all = "snake_case")] TwoAction {
        one: Sum => One explicit,
        other: Sum => Other explicit,
    }
}

#[tokio::test]
async fn p19_combined_reducers_by_name_effects_selectors_subscriptions_and_a_hook_for_the_unmatched() {
    let setup = Setup::<Two>::new()
        .accept_by_name(["one"])
        .on_unknown(|name, _| (name == "legacy").then_some(TwoAction::Other(100)))
        .effect(|action, store: &mut redux::After<'_, Two>| {
            if matches!(action, TwoAction::One(_)) {
                store.start("later", async { TwoAction::Other(1) });
            }
        });
    let sessions = Sessions::<Store<Two>>::builder().extension(setup).build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut other = sessions.subscribe(&a, |two| two.other.0).await.unwrap();
    assert_eq!(other.next().await, Some(0), "the current value at once");
    sessions.dispatch(&a, TwoAction::Other(5)).await.unwrap();
    assert_eq!(other.next().await, Some(5));
    sessions.dispatch_by_name(&a, "one", 2.into()).await.unwrap();
    assert_eq!(other.next().await, Some(6), "by the effect");
    assert!(sessions.dispatch_by_name(&a, "nothing", 0.into()).await.is_err());
    sessions.dispatch_by_name(&a, "legacy", 0.into()).await.unwrap();
    sessions.dispatch_later(&a, TwoAction::One(1)).unwrap();
    assert_eq!(
        sessions.select(&a, |two| (two.one.0, two.other.0)).await.unwrap(),
        (3, 106)
    );
    assert!(sessions.cancel_effect(&a, "later").await.unwrap());
    drop(other);
    assert_eq!(sessions.store_stats(&a).await.unwrap().subscriptions, 0);
}

#[tokio::test]
async fn p19_start_many_terminate_many_broadcast_touch_and_session_stats() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder);
    let ids: Vec<_> = (0..10).map(|n| id(&format!("s{n}"))).collect();
    sessions.start_many(&ids).await;
    #[derive(Clone)]
    struct Bump;
    impl Handle<Bump> for Counter {
        type Reply = ();
        async fn handle(&mut self, _: Bump, _: &mut Context<Self>) {
            self.sum += 1;
        }
    }
    assert_eq!(sessions.broadcast(Bump).await, 10);
    assert_eq!(sessions.call(&ids[3], Add(0)).await.unwrap(), 1);
    clock.advance(SECOND);
    let stats = sessions.session_stats(&ids[3]).unwrap();
    assert_eq!((stats.age, stats.idle_for, stats.waiting), (SECOND, SECOND, 0));
    assert!(stats.process.ends_with("Counter"));
    assert_eq!(sessions.terminate_many(&ids).await, 10);
}
