//! gopgsession, row by row: what its documents promise works here. Numbers as in the parity table. (Rows about
//! PostgreSQL are tested with that store; faults and races under `records`.)

use std::time::Duration;

use session_process::{
    Attributes,
    records::{CacheLimit, NewSession, RecordsConfig, UpdateError},
    store::{Owner, OwnerLimitPolicy, OwnerText},
};

use crate::records::*;

#[tokio::test]
async fn g1_create_for_a_user_with_attributes_and_options() {
    let bench = Bench::new();
    let mut attributes = Attributes::new(bench.records.now());
    attributes.insert("theme", "dark").unwrap();
    let new = NewSession::for_user("ada")
        .group("acme")
        .attributes(attributes)
        .lives(HOUR)
        .idle_timeout(None);
    let created = bench.create(new).await;
    assert_eq!(created.session.user_id(), Some("ada"));
    assert_eq!(created.session.group_id(), Some("acme"));
    assert_eq!(created.session.expires_at(), bench.records.now().saturating_add(HOUR));
    assert_eq!(created.session.get::<String>("theme").unwrap().unwrap(), "dark");
}

#[tokio::test]
async fn g2_get_with_and_without_access_and_forced() {
    let bench = Bench::new();
    let id = bench.session().await;
    let made = bench.records.now();
    bench.clock.advance(SECOND);
    assert_eq!(bench.records.peek(&id).await.unwrap().unwrap().accessed_at(), made);
    assert_eq!(
        bench.records.get(&id).await.unwrap().unwrap().accessed_at(),
        bench.records.now()
    );
    assert!(bench.records.get_fresh(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn g3_update_attributes_typed_and_in_one_step() {
    let bench = Bench::new();
    let id = bench.session().await;
    let cart = bench.records.update(&id, |attributes| {
        attributes.update("cart", |cart: &mut Vec<String>| {
            cart.push("tea".to_owned());
            cart.len()
        })
    });
    assert_eq!(cart.await.unwrap(), 1);
    let found = bench.records.get(&id).await.unwrap().unwrap();
    assert_eq!(found.get::<Vec<String>>("cart").unwrap().unwrap(), ["tea"]);
}

#[tokio::test]
async fn g4_delete_one_a_users_a_groups_all_and_all_but_mine() {
    let bench = Bench::new();
    let mine = bench.create(NewSession::for_user("ada").group("acme")).await.id;
    let other = bench.session().await;
    assert_eq!(bench.records.delete_all_but(&user("ada"), &mine).await.unwrap(), 1);
    assert!(!bench.records.delete(&other).await.unwrap());
    let acme = Owner::Group(OwnerText::new("acme").unwrap());
    assert_eq!(bench.records.delete_all(&acme).await.unwrap(), 1);
    bench.session().await;
    assert_eq!(bench.records.delete_all(&user("ada")).await.unwrap(), 1);
    bench.session().await;
    assert_eq!(bench.records.delete_all(&Owner::Everyone).await.unwrap(), 1);
}

#[tokio::test]
async fn g5_shutdown_writes_what_is_pending() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    assert_eq!(bench.records.stats().pending_accesses, 1);
    bench.records.shutdown(SECOND).await.unwrap();
    assert_eq!(bench.records.stats().pending_accesses, 0);
}

#[tokio::test]
async fn g8_a_bounded_cache() {
    let bench = Bench::with(|builder| builder.cache(CacheLimit::Entries(100)).sessions_per_user(None));
    for _ in 0..500 {
        bench.session().await;
    }
    assert!(bench.records.stats().cached <= 100);
}

#[tokio::test]
async fn g9_expiry_inactivity_and_periodic_cleanup() {
    let bench = Bench::with(|builder| builder.cleanup_interval(HOUR).idle_timeout(MINUTE));
    bench.create(NewSession::new().idle_timeout(None).lives(MINUTE)).await;
    bench.session().await;
    let mut events = bench.records.events();
    // The task that cleans begins to wait.
    tokio::task::yield_now().await;
    bench.clock.advance(HOUR);
    let cleaned = events.find(|event| match event {
        session_process::Event::RecordsCleaned { expired, .. } => Some(*expired),
        _ => None,
    });
    assert_eq!(cleaned.await, Some(2));
}

#[tokio::test]
async fn g10_last_accesses_go_out_in_batches() {
    let bench = Bench::with(|builder| builder.access_flush(MINUTE * 10, 5_000));
    let ids = [bench.session().await, bench.session().await];
    bench.clock.advance(SECOND);
    for id in &ids {
        bench.records.get(id).await.unwrap();
    }
    assert_eq!(bench.records.flush_accesses().await.unwrap(), 2);
    assert_eq!(bench.store.touches.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn g11_limits_on_sessions_a_user_and_on_attributes() {
    use session_process::store::{OwnerLimit, OwnerLimitPolicy};
    let limit = OwnerLimit {
        max: std::num::NonZeroU32::MIN,
        policy: OwnerLimitPolicy::Reject,
    };
    let bench = Bench::with(|builder| builder.sessions_per_user(limit));
    let id = bench.session().await;
    assert!(bench.records.create(NewSession::for_user("ada")).await.is_err());
    let long = "x".repeat(16 * 1024);
    let update = bench.records.update(&id, |attributes| attributes.insert("a", &long));
    let error = update.await.unwrap_err();
    assert!(error.to_string().contains("16384"), "{error}");
}

#[test]
fn g13_our_defaults() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let ours = RecordsConfig::default();
    // Theirs: 5 sessions, 16 KiB, 30 days, 48 h, hourly, 1,000 cached, 10 min and 5,000. The reasons: `RecordsConfig`.
    assert_eq!(ours.sessions_per_user.unwrap().max.get(), 20);
    assert_eq!(ours.attributes.max_value_len, 16 * 1024);
    assert_eq!((ours.max_lifetime, ours.idle_timeout), (Some(30 * DAY), Some(2 * DAY)));
    assert_eq!(ours.cleanup_interval, Some(MINUTE));
    assert_eq!(ours.cache, CacheLimit::Entries(10_000));
    assert_eq!((ours.access_interval, ours.access_batch), (MINUTE, 100_000));
}

/// The reason for each stands with it, in the documentation of `RecordsConfig` and of `Limits`.
#[test]
fn g13_our_own_defaults() {
    let ours = RecordsConfig::default();
    let per_user = ours.sessions_per_user.unwrap();
    assert_eq!(
        (per_user.max.get(), per_user.policy),
        (20, OwnerLimitPolicy::EvictOldest)
    );
    assert_eq!(ours.attributes.max_value_len, 16 * 1024);
    assert_eq!(
        (ours.max_lifetime, ours.idle_timeout),
        (Some(HOUR * 24 * 30), Some(HOUR * 48))
    );
    assert_eq!(ours.cleanup_interval, Some(MINUTE));
    assert_eq!(ours.cache, CacheLimit::Entries(10_000));
    assert_eq!((ours.access_interval, ours.access_batch), (MINUTE, 100_000));
}

#[tokio::test]
async fn g14_versions_expiring_attributes_dynamic_expiry_groups_refresh_and_removal_from_all() {
    let bench = Bench::new();
    let id = bench.session().await;
    let version = bench.records.get(&id).await.unwrap().unwrap().version();
    add(&bench.records, &id).await.unwrap();
    let stale = bench
        .records
        .update_version(&id, version, |attributes| attributes.insert("n", 9));
    assert!(matches!(stale.await, Err(UpdateError::Changed { .. })));
    let code = bench
        .records
        .update(&id, |attributes| attributes.insert_expiring("code", 1, SECOND));
    code.await.unwrap();
    let newer = bench.records.get_at_least(&id, version).await.unwrap().unwrap();
    assert!(newer.version() > version && newer.attribute("code").unwrap().version == newer.version());
    assert_eq!(
        newer.attribute("n").unwrap().version.0 + 1,
        newer.version().0,
        "a version for each attribute"
    );
    bench.clock.advance(SECOND);
    assert!(
        bench
            .records
            .get(&id)
            .await
            .unwrap()
            .unwrap()
            .attribute("code")
            .is_none()
    );
    let view = bench.records.set_group(&id, Some("acme")).await.unwrap();
    assert_eq!(view.group_id(), Some("acme"));
    bench.records.set_lifetime(&id, HOUR).await.unwrap();
    bench.records.set_idle_timeout(&id, None).await.unwrap();
    bench.records.clear_cache();
    assert_eq!(bench.records.stats().cached, 0);
    assert_eq!(bench.records.remove_attribute(&user("ada"), "n").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n7_a_lost_update_is_impossible_by_default() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    let tasks: Vec<_> = [&bench.records, &other]
        .into_iter()
        .cycle()
        .take(100)
        .map(|records| {
            let (records, id) = (records.clone(), id.clone());
            tokio::spawn(async move {
                // As a handler does that was told `Contended`.
                while add(&records, &id).await.is_err() {}
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bench.stored(&id).await, Some(100));
}
