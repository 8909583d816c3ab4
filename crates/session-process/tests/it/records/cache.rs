//! What is served from memory is never older than what is known, and never dead.

use std::sync::atomic::Ordering::SeqCst;

use session_process::{
    Event,
    records::{CacheLimit, Ending, NewSession},
    store::{Change, Expect, Notice, Op},
};
use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn a_cached_session_costs_the_store_nothing() {
    let bench = Bench::new();
    let id = bench.session().await;
    for _ in 0..100 {
        assert_eq!(read(&bench.records, &id).await, Some(0));
    }
    assert_eq!(
        bench.store.loads.load(SeqCst),
        0,
        "not even once: creating it was enough"
    );
    assert_eq!(bench.store.touches.load(SeqCst), 0);
}

#[tokio::test]
async fn an_expired_session_is_never_served_from_the_cache_and_cannot_be_updated() {
    let bench = Bench::new();
    let id = bench
        .create(NewSession::new().lives(HOUR).idle_timeout(None).attribute("n", 0))
        .await
        .id;
    assert!(bench.records.get(&id).await.unwrap().is_some());
    bench.clock.advance(2 * HOUR);
    assert!(bench.records.get(&id).await.unwrap().is_none());
    assert!(bench.records.peek(&id).await.unwrap().is_none());
    assert!(bench.records.get_fresh(&id).await.unwrap().is_none());
    assert!(add(&bench.records, &id).await.is_err());
    assert!(bench.records.rotate(&id).await.is_err());
}

#[tokio::test]
async fn an_expired_attribute_is_never_served_from_the_cache_and_cannot_be_updated() {
    let bench = Bench::new();
    let new = NewSession::new()
        .attribute_expiring("code", 4711, MINUTE)
        .attribute("n", 0);
    let id = bench.create(new).await.id;
    assert_eq!(
        bench
            .records
            .get(&id)
            .await
            .unwrap()
            .unwrap()
            .get::<u32>("code")
            .unwrap(),
        Some(4711)
    );
    bench.clock.advance(MINUTE);
    let found = bench.records.get(&id).await.unwrap().unwrap();
    assert_eq!(found.get::<u32>("code").unwrap(), None);
    assert!(found.attribute("code").is_none() && !found.attributes().contains_key("code"));
    let bumped = bench.records.update(&id, |attributes| {
        attributes.update_existing("code", |code: &mut u32| *code += 1)
    });
    assert_eq!(bumped.await.unwrap(), None);
}

#[tokio::test]
async fn two_hundred_reads_of_one_session_at_once_are_one_load() {
    let bench = Bench::new();
    let id = bench.session().await;
    let other = bench.another();
    let gate = bench.store.gate("load");
    let mut tasks = Vec::new();
    for _ in 0..200 {
        let (records, id) = (other.clone(), id.clone());
        tasks.push(begun(async move { read(&records, &id).await }).await);
    }
    gate.reached().await;
    gate.open_for_all();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Some(0));
    }
    assert_eq!(bench.store.loads.load(SeqCst), 1);
}

#[tokio::test]
async fn reads_of_many_sessions_at_once_are_few_loads() {
    let bench = Bench::with(|builder| builder.sessions_per_user(None));
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.push(bench.session().await);
    }
    let other = bench.another();
    let gate = bench.store.gate("load");
    let mut tasks = Vec::new();
    for id in ids {
        let records = other.clone();
        tasks.push(begun(async move { read(&records, &id).await }).await);
    }
    gate.reached().await;
    gate.open_for_all();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Some(0));
    }
    assert!(bench.store.loads.load(SeqCst) <= 5, "{:?}", bench.store.loads);
}

#[tokio::test]
async fn a_session_that_was_deleted_behind_the_cache_is_gone_for_all_reads_once_one_has_seen_it() {
    let bench = Bench::new();
    bench.store.mute.store(true, SeqCst);
    let id = bench.session().await;
    bench.store.inner.commit(vec![delete(&id)]).await.unwrap();
    assert!(bench.records.get(&id).await.unwrap().is_some(), "nobody could know");
    assert!(bench.records.get_fresh(&id).await.unwrap().is_none());
    assert!(bench.records.get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_load_that_began_before_a_change_does_not_put_the_old_session_back() {
    let bench = Bench::new();
    let other = bench.another();
    let (told, mut endings) = mpsc::unbounded_channel();
    bench
        .records
        .on_ending(move |ending| told.send(ending.clone()).unwrap());
    let (id, mark) = (bench.session().await, bench.session().await);
    bench.records.clear_cache();

    let gate = bench.store.gate("loaded");
    let (records, one) = (bench.records.clone(), id.clone());
    let slow = begun(async move { read(&records, &one).await }).await;
    gate.reached().await;
    bench.store.ungate_later("loaded");
    assert_eq!(add(&other, &id).await.unwrap(), 1);
    // Notices come in order: when the end of this one is known, so is the change.
    other.delete(&mark).await.unwrap();
    loop {
        if let Ending::Removed { key, .. } = endings.recv().await.unwrap()
            && key == (&mark).into()
        {
            break;
        }
    }
    gate.open_for_all();
    assert_eq!(slow.await.unwrap(), Some(1), "the slow reader itself asked again");
    assert_eq!(read(&bench.records, &id).await, Some(1));
}

#[tokio::test]
async fn a_load_that_began_before_a_deletion_does_not_bring_the_session_back() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.records.clear_cache();
    let gate = bench.store.gate("loaded");
    let (records, one) = (bench.records.clone(), id.clone());
    let slow = begun(async move { read(&records, &one).await }).await;
    gate.reached().await;
    bench.store.ungate_later("loaded");
    assert!(bench.records.delete(&id).await.unwrap());
    gate.open_for_all();
    assert_eq!(slow.await.unwrap(), None);
    assert!(bench.records.get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_change_on_another_node_is_seen_here_and_a_deletion_too() {
    let bench = Bench::new();
    let other = bench.another();
    let (id, gone) = (bench.session().await, bench.session().await);
    let (told, mut endings) = mpsc::unbounded_channel();
    bench
        .records
        .on_ending(move |ending| told.send(ending.clone()).unwrap());
    assert_eq!(read(&bench.records, &id).await, Some(0));
    add(&other, &id).await.unwrap();
    other.delete(&gone).await.unwrap();
    assert!(matches!(endings.recv().await, Some(Ending::Removed { .. })));
    assert_eq!(read(&bench.records, &id).await, Some(1));
    assert!(
        bench.records.get(&gone).await.unwrap().is_none(),
        "signed out there, signed out here"
    );
}

#[tokio::test]
async fn when_changes_cannot_be_heard_any_more_nothing_is_served_from_the_cache() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    let mut events = bench.records.events();
    assert_eq!(read(&bench.records, &id).await, Some(0));
    bench.store.end_changes();
    let cleared = events.find(|event| match event {
        Event::RecordCacheCleared { reason } => Some(*reason),
        _ => None,
    });
    assert_eq!(cleared.await, Some("deaf"));
    add(&other, &id).await.unwrap();
    assert_eq!(read(&bench.records, &id).await, Some(1));
    assert!(!bench.records.stats().cache_in_use);
}

#[tokio::test]
async fn a_shutdown_serves_nothing_from_the_cache_afterwards_and_is_no_alarm() {
    let bench = Bench::new();
    let id = bench.session().await;
    let mut events = bench.records.events();
    assert_eq!(read(&bench.records, &id).await, Some(0));
    bench.records.shutdown(MINUTE).await.unwrap();
    // The task that listens ends on its own.
    while bench.records.stats().cache_in_use {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&bench.records, &id).await, Some(0), "from the store");
    drop(bench);
    let alarm = events.find(|event| match event {
        Event::RecordCacheCleared { reason } => Some(*reason),
        _ => None,
    });
    assert_eq!(alarm.await, None);
}

#[tokio::test]
async fn while_the_store_is_deaf_every_read_asks_it_and_the_cache_starts_afresh_afterwards() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    let mut events = bench.records.events();
    let mut cleared = async || {
        let reason = events.find(|event| match event {
            Event::RecordCacheCleared { reason } => Some(*reason),
            _ => None,
        });
        reason.await
    };
    let (told, mut endings) = mpsc::unbounded_channel();
    bench
        .records
        .on_ending(move |ending| told.send(ending.clone()).unwrap());
    assert_eq!(read(&bench.records, &id).await, Some(0));

    bench.store.say(Notice::Deaf);
    assert_eq!(cleared().await, Some("deaf"));
    bench.store.mute.store(true, SeqCst);
    assert!(!bench.records.stats().cache_in_use);
    for n in 1..=3 {
        add(&other, &id).await.unwrap();
        assert_eq!(
            read(&bench.records, &id).await,
            Some(n),
            "nobody told of it, and it is seen"
        );
    }

    // What is on its way when the store hears again may have missed something.
    let gate = bench.store.gate("loaded");
    let records = bench.records.clone();
    let same = id.clone();
    let reading = begun(async move { read(&records, &same).await }).await;
    gate.reached().await;
    bench.store.ungate_later("loaded");
    add(&other, &id).await.unwrap();
    bench.store.mute.store(false, SeqCst);
    bench.store.say(Notice::Hearing);
    assert_eq!(cleared().await, Some("hearing"));
    gate.open_for_all();
    reading.await.unwrap();
    assert_eq!(read(&bench.records, &id).await, Some(4));
    assert!(matches!(endings.recv().await, Some(Ending::Unknown { key: None })));

    assert!(bench.records.stats().cache_in_use);
    let loads = bench.store.loads.load(SeqCst);
    assert_eq!(read(&bench.records, &id).await, Some(4));
    assert_eq!(bench.store.loads.load(SeqCst), loads, "from the cache again");
}

#[tokio::test]
async fn when_notices_were_lost_everything_is_read_again_and_observers_are_told() {
    let bench = Bench::new();
    let id = bench.session().await;
    let (told, mut endings) = mpsc::unbounded_channel();
    bench
        .records
        .on_ending(move |ending| told.send(ending.clone()).unwrap());
    let loads = bench.store.loads.load(SeqCst);
    // More than the store keeps for a subscriber that is not running.
    for _ in 0..5_000 {
        let edit = Op::Edit(Box::default());
        let change = Change {
            key: (&id).into(),
            expect: Expect::default(),
            op: edit,
        };
        bench.store.inner.commit(vec![change]).await.unwrap();
    }
    assert_eq!(endings.recv().await, Some(Ending::Unknown { key: None }));
    assert_eq!(read(&bench.records, &id).await, Some(0));
    assert_eq!(bench.store.loads.load(SeqCst), loads + 1);
}

#[tokio::test]
async fn a_cached_session_gets_no_older_than_its_age_also_when_the_clock_jumps_back() {
    let bench = Bench::new();
    bench.store.mute.store(true, SeqCst);
    let id = bench.session().await;
    let other = bench.another();
    add(&other, &id).await.unwrap();
    assert_eq!(read(&bench.records, &id).await, Some(0), "nobody could know");
    bench.clock.advance(MINUTE);
    assert_eq!(read(&bench.records, &id).await, Some(1));
    add(&other, &id).await.unwrap();
    bench.clock.set(MINUTE);
    assert_eq!(read(&bench.records, &id).await, Some(2));
}

#[tokio::test]
async fn get_at_least_asks_the_store_only_when_it_must() {
    let bench = Bench::new();
    bench.store.mute.store(true, SeqCst);
    let id = bench.session().await;
    let other = bench.another();
    let old = bench.records.get(&id).await.unwrap().unwrap().version();
    add(&other, &id).await.unwrap();
    let new = other.get(&id).await.unwrap().unwrap().version();
    let loads = bench.store.loads.load(SeqCst);
    assert_eq!(
        bench.records.get_at_least(&id, old).await.unwrap().unwrap().version(),
        old
    );
    assert_eq!(bench.store.loads.load(SeqCst), loads);
    assert_eq!(
        bench.records.get_at_least(&id, new).await.unwrap().unwrap().version(),
        new
    );
    assert_eq!(bench.store.loads.load(SeqCst), loads + 1);
}

#[tokio::test]
async fn a_cache_is_bounded_by_sessions_or_by_bytes() {
    for (limit, most) in [(CacheLimit::Entries(100), 100), (CacheLimit::Bytes(100_000), 120_000)] {
        let bench = Bench::with(|builder| builder.cache(limit).sessions_per_user(None));
        for _ in 0..1_000 {
            bench.session().await;
        }
        let stats = bench.records.stats();
        assert!(stats.cached > 50 && stats.cache_weight <= most, "{stats:?}");
    }
}

#[tokio::test]
async fn a_reader_that_comes_by_once_does_not_push_out_who_is_read_often() {
    let bench = Bench::with(|builder| builder.cache(CacheLimit::Entries(200)).sessions_per_user(None));
    let mut often = Vec::new();
    for _ in 0..50 {
        often.push(bench.session().await);
    }
    for _ in 0..10 {
        for id in &often {
            read(&bench.records, id).await;
        }
    }
    for _ in 0..2_000 {
        bench.session().await;
    }
    let loads = bench.store.loads.load(SeqCst);
    for id in &often {
        read(&bench.records, id).await;
    }
    let missed = bench.store.loads.load(SeqCst) - loads;
    assert!(missed < 10, "{missed} of 50 were pushed out");
}

fn delete(id: &SessionId) -> Change {
    Change {
        key: id.into(),
        expect: Expect::default(),
        op: Op::Delete,
    }
}
