//! Lines 16, 19, 20 and 22: how long an id and a session are good.

use std::{sync::Arc, time::Duration};

use session_process::{Attributes, Config, Process, Restart, records::RecordsConfig, store::MemoryStore};

use super::{Node, signed_in, until};
use crate::support::{Client, app, timed};

/// The attacker plants a session of theirs in the victim's browser, which signs in with it.
#[tokio::test]
async fn line_16_after_a_login_the_old_id_is_dead_on_every_node() {
    let store = Arc::new(MemoryStore::new());
    let (node, other) = (Node::over(store.clone()), Node::over(store));
    let mut attacker = Client::new(&node.app);
    attacker.post("/add").await;
    let planted = attacker.id();
    // Awake on both.
    assert_eq!(Client::with_id(&other.app, &planted).get("/look").await.body, "1");

    let mut victim = Client::with_id(&node.app, &planted);
    assert_eq!(victim.post("/login/ada").await.status, 200);
    assert_ne!(victim.id(), planted);
    assert_eq!(attacker.get("/look").await.body, "none");
    until(async || !other.sessions.is_started(&planted)).await;
    assert_eq!(Client::with_id(&other.app, &planted).get("/look").await.body, "none");
    assert_eq!(Client::with_id(&other.app, &victim.id()).get("/look").await.body, "1");

    // And once more at re-authentication.
    let before = victim.id();
    victim.post("/login/ada").await;
    assert_ne!(victim.id(), before);
    assert_eq!(Client::with_id(&node.app, &before).get("/look").await.body, "none");
}

#[tokio::test]
async fn line_19_a_session_that_is_not_used_expires_on_the_server() {
    let (sessions, clock) = timed();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    clock.advance(Duration::from_secs(59));
    assert_eq!(client.get("/look").await.body, "1");
    clock.advance(Duration::from_secs(59));
    assert_eq!(client.get("/look").await.body, "1", "use puts it off");
    clock.advance(Duration::from_secs(60));
    assert_eq!(client.get("/look").await.body, "none");
    assert_eq!(client.get("/id").await.status, 401);
}

#[tokio::test]
async fn line_20_a_session_ends_at_its_age_despite_use() {
    let (sessions, clock) = timed();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    for _ in 0..11 {
        clock.advance(Duration::from_secs(50));
        assert_eq!(client.get("/look").await.body, "1");
    }
    clock.advance(Duration::from_secs(49));
    // Not by a new id either.
    client.post("/login").await;
    assert_eq!(client.get("/look").await.body, "1");
    clock.advance(Duration::from_secs(1));
    assert_eq!(client.get("/look").await.body, "none");
}

#[tokio::test]
async fn line_20_a_durable_session_ends_at_its_age_also_after_a_restart() {
    let clock = session_process::ManualClock::new();
    let store = Arc::new(MemoryStore::with_clock(clock.clone()));
    let run = || {
        let records = session_process::records::SessionRecords::builder_over(store.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        let sessions = session_process::Sessions::<crate::durable::Ledger>::builder()
            .records(records.clone())
            .max_lifetime(Duration::from_secs(600))
            .clock(clock.clone())
            .build()
            .unwrap();
        let layer = session_process_axum::SessionLayer::new(sessions);
        super::routes().with_state(records).layer(layer)
    };
    let mut client = Client::new(&run());
    client.post("/add").await;
    let id = client.id();
    clock.advance(Duration::from_secs(599));
    assert_eq!(Client::with_id(&run(), &id).get("/look").await.body, "1");
    clock.advance(Duration::from_secs(1));
    assert_eq!(Client::with_id(&run(), &id).get("/look").await.body, "none");
}

#[tokio::test]
async fn line_22_the_guide_has_the_defaults_that_are_in_force() {
    let guide = include_str!("../../../docs/security.md");
    let (engine, records) = (Config::default(), RecordsConfig::default());
    let per_user = records.sessions_per_user.unwrap();
    let time = |limit: Option<Duration>| limit.map_or("none".to_owned(), |limit| words(limit.as_secs()));
    let number = |limit: Option<u32>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    for (what, default) in [
        ("`Builder::idle_timeout`", time(engine.idle_timeout)),
        ("`Builder::max_lifetime`", time(engine.max_lifetime)),
        ("`Builder::sleep_after`", time(engine.sleep_after)),
        ("`Builder::sweep_interval`", time(Some(engine.sweep_interval))),
        ("`Builder::call_timeout`", time(Some(engine.call_timeout))),
        ("`Builder::max_sessions`", engine.max_sessions.to_string()),
        ("`Process::RESTART`", restarts(<Attributes as Process>::RESTART)),
        ("`Builder::rate_limit`", number(engine.rate_limit)),
        ("`Builder::rate_limit_per_key`", number(engine.rate_limit_per_key)),
        ("`RecordsBuilder::sessions_per_user`", per_user.max.to_string()),
        ("`RecordsBuilder::idle_timeout`", time(records.idle_timeout)),
        ("`RecordsBuilder::max_lifetime`", time(records.max_lifetime)),
        ("`RecordsBuilder::cache_max_age`", time(Some(records.cache_max_age))),
        ("`RecordsBuilder::store_timeout`", time(Some(records.store_timeout))),
    ] {
        let row = format!("| {what} | {default} |");
        assert!(guide.contains(&row), "the guide has a row {row}");
    }
    assert_eq!(per_user.policy, session_process::store::OwnerLimitPolicy::EvictOldest);
    // Those of the layer: what a session of its default begins and ends with.
    let node = Node::over(Arc::new(MemoryStore::new()));
    let mut client = signed_in(&node, "ada").await;
    let cookie = client.post("/login/ada").await.set_cookie().unwrap().to_owned();
    let (_, attributes) = cookie.split_once("; ").unwrap();
    assert!(
        guide.contains(&format!("`__Host-id`, `{}`", attributes.replace("; ", "`, `"))),
        "{attributes}"
    );
}

fn restarts(policy: Restart) -> String {
    match policy {
        Restart::OnFailure { max_restarts, within } => format!("{max_restarts} in {}", words(within.as_secs())),
        _ => "none".to_owned(),
    }
}

fn words(seconds: u64) -> String {
    match seconds {
        day if day.is_multiple_of(86_400) => format!("{} days", day / 86_400),
        hour if hour.is_multiple_of(3_600) => format!("{} h", hour / 3_600),
        minute if minute.is_multiple_of(60) => format!("{} min", minute / 60),
        second => format!("{second} s"),
    }
}
