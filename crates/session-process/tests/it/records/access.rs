//! Uses gather in memory, and count.

use std::sync::atomic::Ordering::SeqCst;

use session_process::{records::NewSession, store::Touch};

use super::*;

#[tokio::test]
async fn a_session_that_is_used_each_minute_is_not_idle_whatever_the_flush_interval_and_the_node_that_cleans() {
    let bench = Bench::with(|builder| builder.idle_timeout(5 * MINUTE).access_flush(10 * MINUTE, 5_000));
    let other = bench.another();
    let id = bench.session().await;
    for minute in 1..=30 {
        bench.clock.advance(MINUTE);
        assert!(bench.records.get(&id).await.unwrap().is_some(), "minute {minute}");
        // The flush that is due has the time that it needs.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(other.clean_up().await.unwrap(), 0, "minute {minute}");
        assert!(other.get_fresh(&id).await.unwrap().is_some());
    }
    bench.clock.advance(5 * MINUTE);
    assert!(bench.records.get(&id).await.unwrap().is_none(), "and unused, it is");
}

#[tokio::test]
async fn the_accesses_of_a_node_that_only_reads_from_its_cache_reach_the_store_in_time() {
    let bench = Bench::with(|builder| {
        builder
            .idle_timeout(5 * MINUTE)
            .access_flush(HOUR, 5_000)
            .cache_max_age(HOUR)
    });
    let id = bench.session().await;
    for _ in 0..60 {
        bench.clock.advance(30 * SECOND);
        assert!(bench.records.get(&id).await.unwrap().is_some());
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.store.inner.delete_expired(10).await.unwrap(), []);
    }
    assert!(bench.store.touches.load(SeqCst) < 15, "{:?}", bench.store.touches);
}

#[tokio::test]
async fn a_use_in_the_last_moment_counts_or_is_refused_and_nothing_between() {
    let bench = Bench::with(|builder| builder.idle_timeout(MINUTE).cache_max_age(HOUR));
    let id = bench.session().await;
    bench.clock.advance(MINUTE - SECOND);
    assert!(bench.records.get(&id).await.unwrap().is_some());
    bench.clock.advance(SECOND * 2);
    assert_eq!(
        bench.store.inner.delete_expired(10).await.unwrap(),
        [],
        "the store was told at once"
    );
    assert!(bench.records.get(&id).await.unwrap().is_some());
    bench.clock.advance(MINUTE);
    assert!(bench.records.get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_late_flush_does_not_move_the_last_access_back() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    bench.clock.advance(SECOND);
    other.get(&id).await.unwrap();
    let latest = other.now();
    other.flush_accesses().await.unwrap();
    bench.records.flush_accesses().await.unwrap();
    let found = bench.records.get_fresh(&id).await.unwrap().unwrap();
    assert!(found.accessed_at() >= latest);
    let touch = Touch {
        key: (&id).into(),
        accessed_at: Default::default(),
    };
    bench.store.inner.touch(vec![touch]).await.unwrap();
    assert!(
        bench.store.inner.load(&[(&id).into()]).await.unwrap()[0]
            .as_ref()
            .unwrap()
            .accessed_at
            >= latest
    );
}

#[tokio::test]
async fn accesses_go_out_after_the_interval_or_when_there_are_many() {
    let bench = Bench::with(|builder| builder.access_flush(10 * MINUTE, 100).sessions_per_user(None));
    let mut ids = Vec::new();
    for _ in 0..150 {
        ids.push(bench.session().await);
    }
    bench.clock.advance(SECOND);
    bench.records.get(&ids[0]).await.unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.store.touches.load(SeqCst), 0);
    bench.clock.advance(10 * MINUTE);
    crate::support::until(|| bench.records.stats().pending_accesses == 0).await;
    assert_eq!(bench.store.touches.load(SeqCst), 1);
    for id in &ids {
        bench.records.get(id).await.unwrap();
    }
    crate::support::until(|| bench.records.stats().pending_accesses < 100).await;
}

#[tokio::test]
async fn accesses_that_could_not_be_written_are_kept_and_written_later() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    bench.store.fail("touch", 1);
    bench.records.flush_accesses().await.unwrap_err();
    assert_eq!(bench.records.stats().pending_accesses, 1);
    assert_eq!(bench.records.flush_accesses().await.unwrap(), 1);
    assert_eq!(stored(&bench, &id).await, bench.records.now());
}

#[tokio::test]
async fn a_use_during_a_flush_is_not_lost() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    let (gate, flush) = flush_at_gate(&bench).await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    gate.open_for_all();
    flush.await.unwrap().unwrap();
    assert_eq!(bench.records.stats().pending_accesses, 1);
    bench.records.flush_accesses().await.unwrap();
    assert_eq!(stored(&bench, &id).await, bench.records.now());
}

#[tokio::test]
async fn a_shutdown_writes_the_accesses_and_a_second_one_does_no_harm() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    bench.records.shutdown(SECOND).await.unwrap();
    assert_eq!(stored(&bench, &id).await, bench.records.now());
    bench.records.shutdown(SECOND).await.unwrap();
    assert_eq!(read(&bench.records, &id).await, Some(0), "it still answers");
}

#[tokio::test]
async fn a_shutdown_ends_at_its_deadline_when_the_store_does_not_answer() {
    let bench = Bench::with(|builder| builder.store_timeout(HOUR));
    let id = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    let gate = bench.store.gate("touch");
    let records = bench.records.clone();
    let shutdown = begun(async move { records.shutdown(SECOND).await }).await;
    gate.reached().await;
    bench.clock.advance(SECOND);
    assert!(shutdown.await.unwrap().is_err());
}

#[tokio::test]
async fn peeking_is_no_use() {
    let bench = Bench::with(|builder| builder.idle_timeout(MINUTE));
    let id = bench.session().await;
    for _ in 0..5 {
        bench.clock.advance(SECOND * 10);
        assert!(bench.records.peek(&id).await.unwrap().is_some());
    }
    bench.clock.advance(SECOND * 10);
    assert!(bench.records.peek(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn idle_expiry_can_be_off_for_one_session_and_its_end_moved() {
    let bench = Bench::with(|builder| builder.idle_timeout(MINUTE));
    let id = bench
        .create(NewSession::new().idle_timeout(None).lives(HOUR).attribute("n", 0))
        .await
        .id;
    bench.clock.advance(10 * MINUTE);
    assert!(bench.records.peek(&id).await.unwrap().is_some());
    bench.records.set_idle_timeout(&id, MINUTE).await.unwrap();
    bench.clock.advance(MINUTE - SECOND);
    assert!(bench.records.peek(&id).await.unwrap().is_some());
    bench.records.set_idle_timeout(&id, None).await.unwrap();
    bench.records.set_lifetime(&id, 2 * HOUR).await.unwrap();
    bench.clock.advance(HOUR + 30 * MINUTE);
    assert!(bench.records.peek(&id).await.unwrap().is_some());
    bench.clock.advance(30 * MINUTE);
    assert!(bench.records.peek(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_clock_that_jumps_back_ends_no_session_and_revives_none() {
    let bench = Bench::with(|builder| builder.idle_timeout(MINUTE));
    let id = bench.session().await;
    bench.clock.set(SECOND);
    assert!(bench.records.get(&id).await.unwrap().is_some());
    bench.clock.set(2 * HOUR);
    assert!(bench.records.get(&id).await.unwrap().is_none());
    assert_eq!(bench.records.clean_up().await.unwrap(), 1);
    bench.clock.set(HOUR);
    assert!(bench.records.get(&id).await.unwrap().is_none());
}

async fn stored(bench: &Bench, id: &SessionId) -> session_process::Timestamp {
    bench.store.inner.load(&[id.into()]).await.unwrap()[0]
        .as_ref()
        .unwrap()
        .accessed_at
}

#[tokio::test]
async fn a_use_during_a_flush_reaches_the_store_before_the_session_is_taken_for_unused() {
    let bench = Bench::with(|builder| {
        builder
            .idle_timeout(MINUTE)
            .access_flush(HOUR, 5_000)
            .cache_max_age(HOUR)
    });
    let id = bench.session().await;
    bench.clock.advance(SECOND);
    bench.records.get(&id).await.unwrap();
    let (gate, flush) = flush_at_gate(&bench).await;
    bench.clock.advance(20 * SECOND);
    bench.records.get(&id).await.unwrap();
    gate.open_for_all();
    flush.await.unwrap().unwrap();
    for _ in 0..4 {
        // Up to 65 s: a minute after the use that the store was told of first, and not after the other.
        bench.clock.advance(11 * SECOND);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.store.inner.delete_expired(10).await.unwrap(), []);
    assert!(bench.records.get(&id).await.unwrap().is_some());
}
