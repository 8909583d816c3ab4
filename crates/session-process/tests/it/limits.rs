//! How many sessions may be started.

use session_process::{Builder, StartError, StartOptions};

use crate::support::*;

async fn start_at_once(sessions: &session_process::Sessions<Counter>, n: usize) -> usize {
    let starters: Vec<_> = (0..n)
        .map(|n| {
            let sessions = sessions.clone();
            tokio::spawn(async move { sessions.start(&id(&format!("s{n}"))).await })
        })
        .collect();
    let mut started = 0;
    for starter in starters {
        started += usize::from(starter.await.unwrap().is_ok());
    }
    started
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_session_limit_is_exact_when_many_start_at_once() {
    let sessions = Builder::max_sessions(session_process::Sessions::<Counter>::builder(), 1_000)
        .build()
        .unwrap();
    assert_eq!(start_at_once(&sessions, 10_000).await, 1_000);
    assert_eq!(sessions.stats().sessions, 1_000);
    let error = sessions.start(&id("one-more")).await.unwrap_err();
    assert!(matches!(error, StartError::SessionLimit { max: 1_000 }), "{error}");
    let live = sessions.list();
    sessions.terminate(&live[0]).await.unwrap();
    sessions.start(&id("one-more")).await.unwrap();
    assert!(
        !sessions.start(&live[1]).await.unwrap(),
        "a started session can be started at the limit"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_rate_limit_is_exact_when_many_start_at_once() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.rate_limit(500));
    assert_eq!(start_at_once(&sessions, 5_000).await, 500);
    let error = sessions.start(&id("one-more")).await.unwrap_err();
    let StartError::RateLimit {
        per_minute: 500,
        retry_after,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(retry_after, 60 * SECOND);
    clock.advance(60 * SECOND);
    sessions.start(&id("one-more")).await.unwrap();
}

#[tokio::test]
async fn one_key_at_its_limit_does_not_lock_out_the_others() {
    let (sessions, clock) = with_clock::<Counter>(|builder| builder.rate_limit_per_key(3));
    let from = |key: &str| StartOptions::new().key(key);
    for n in 0..3 {
        sessions
            .start_with_options(&id(&format!("a{n}")), (), &from("198.51.100.7"))
            .await
            .unwrap();
    }
    let refused = sessions
        .start_with_options(&id("a3"), (), &from("198.51.100.7"))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StartError::KeyRateLimit { per_minute: 3, .. }),
        "{refused}"
    );
    assert!(!refused.to_string().contains("198.51"), "the key is personal");
    sessions
        .start_with_options(&id("b"), (), &from("198.51.100.8"))
        .await
        .unwrap();
    sessions.start(&id("c")).await.unwrap();
    clock.advance(20 * SECOND);
    sessions
        .start_with_options(&id("a3"), (), &from("198.51.100.7"))
        .await
        .unwrap();
}

/// The original's limiter looks at all recent starts each time: 12,000 starts a second fall to 1,200 by the
/// ten-thousandth. Ours must not: the last thousand starts cost what the first thousand cost, give or take noise.
#[tokio::test]
async fn the_rate_limit_costs_the_same_however_many_started() {
    let (sessions, _clock) = with_clock::<Counter>(|builder| builder.rate_limit(1_000_000));
    let mut slices = Vec::new();
    for slice in 0..40 {
        let ids: Vec<_> = (0..1_000).map(|n| id(&format!("s{}", slice * 1_000 + n))).collect();
        let begun = std::time::Instant::now();
        for id in &ids {
            sessions.start(id).await.unwrap();
        }
        slices.push(begun.elapsed());
    }
    slices[..20].sort();
    slices[20..].sort();
    let (early, late) = (slices[10], slices[30]);
    assert!(
        late < early * 4,
        "the median of a thousand starts went from {early:?} to {late:?}"
    );
}

#[tokio::test]
async fn limits_of_zero_are_refused_when_the_engine_is_built() {
    use std::time::Duration;
    let builder = session_process::Sessions::<Counter>::builder;
    let refused = [
        builder().max_sessions(0).build(),
        builder().rate_limit(0).build(),
        builder().rate_limit_per_key(0).build(),
        builder().mailbox_capacity(0).build(),
        builder().idle_timeout(Duration::ZERO).build(),
        builder().max_lifetime(Duration::ZERO).build(),
        builder().call_timeout(Duration::ZERO).build(),
        builder().terminate_timeout(Duration::ZERO).build(),
        builder().sweep_interval(Duration::ZERO).build(),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(error.to_string().contains("is zero"), "{error}");
    }
}

#[test]
fn building_outside_a_runtime_is_a_clear_error() {
    let error = session_process::Sessions::<Counter>::builder().build().unwrap_err();
    assert_eq!(error, session_process::BuildError::NoRuntime);
}
