//! The store is away: an error, soon, and never "no session".

use session_process::{
    records::{NewSession, RecordError, UpdateError},
    store::StoreError,
};

use super::*;

#[tokio::test]
async fn a_session_whose_commit_failed_is_not_in_the_cache() {
    let bench = Bench::new();
    bench.store.fail("commit", 1);
    let id = SessionId::generate();
    let created = bench.records.create_with_id(id.clone(), NewSession::new()).await;
    assert!(matches!(
        created,
        Err(RecordError::Store(StoreError::Unavailable { .. }))
    ));
    assert!(bench.records.get(&id).await.unwrap().is_none());
    assert_eq!(bench.records.stats().cached, 0);
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_read_anew() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.store.fail("committed", 1);
    add(&bench.records, &id).await.unwrap_err();
    assert_eq!(read(&bench.records, &id).await, Some(1), "the store had done it");
    bench.store.fail("committed", 1);
    bench.records.delete(&id).await.unwrap_err();
    assert!(bench.records.get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_an_error_and_a_cached_session_is_still_served_for_a_while() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.store.fail("load", usize::MAX);
    assert!(bench.records.get(&SessionId::generate()).await.is_err());
    assert_eq!(read(&bench.records, &id).await, Some(0));
    bench.clock.advance(MINUTE);
    let error = bench.records.get(&id).await.unwrap_err();
    assert!(error.is_transient());
    bench.store.fail("load", 0);
    assert_eq!(read(&bench.records, &id).await, Some(0), "it recovers by itself");
}

#[tokio::test]
async fn a_store_that_hangs_is_an_error_after_the_time_limit() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.records.clear_cache();
    let gate = bench.store.gate("load");
    let (records, one) = (bench.records.clone(), id.clone());
    let get = begun(async move { records.get(&one).await }).await;
    gate.reached().await;
    bench.clock.advance(3 * SECOND);
    assert!(matches!(
        get.await.unwrap(),
        Err(StoreError::Timeout { context: "load" })
    ));
    bench.store.ungate("load");

    let gate = bench.store.gate("commit");
    let (records, one) = (bench.records.clone(), id.clone());
    let update = begun(async move { add(&records, &one).await }).await;
    gate.reached().await;
    bench.clock.advance(3 * SECOND);
    let error = update.await.unwrap().unwrap_err();
    assert!(matches!(
        error,
        session_process::records::UpdateError::Store(StoreError::Timeout { .. })
    ));
    bench.store.ungate("commit");
    assert_eq!(add(&bench.records, &id).await.unwrap(), 1, "and the next one works");
}

#[tokio::test]
async fn no_error_and_no_event_holds_an_id() {
    let (captured, _guard) = testkit::capture_tracing();
    let bench = Bench::new();
    let mut events = bench.records.events();
    let id = bench.session().await;
    add(&bench.records, &id).await.unwrap();
    bench.store.fail("commit", 1);
    let error = add(&bench.records, &id).await.unwrap_err();
    let new = bench.records.rotate(&id).await.unwrap();
    bench.records.delete(&new).await.unwrap();
    let missing = bench.records.rotate(&new).await.unwrap_err();
    let mut shown = format!("{error} {error:?} {missing} {missing:?} {:?}", bench.records);
    drop(bench);
    while let Ok(Some(event)) = events.recv().await {
        shown += &format!("{event:?}");
    }
    shown += &captured.text();
    assert!(shown.contains("RecordSaved") && captured.text().contains("session saved"));
    for id in [id, new] {
        assert!(!shown.contains(id.expose()));
    }
}

#[test]
fn an_update_whose_runtime_goes_away_fails() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (home, elsewhere) = (runtime(), runtime());
    let (bench, id) = home.block_on(async {
        let bench = Bench::new();
        let id = bench.session().await;
        (bench, id)
    });
    let mut home = Some(home);
    // While it has the session, and before what it did is handed in.
    let updated = elsewhere.block_on(bench.records.update(&id, |attributes| {
        home.take()
            .into_iter()
            .for_each(tokio::runtime::Runtime::shutdown_background);
        attributes.insert("n", 1)
    }));
    let error = updated.unwrap_err();
    assert!(
        matches!(error, UpdateError::Store(StoreError::Unavailable { .. })),
        "{error:?}"
    );
}
