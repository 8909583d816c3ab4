//! No update is lost, and none is half there.

use std::sync::atomic::Ordering::SeqCst;

use session_process::{
    AttributeError,
    records::{NewSession, UpdateError},
    store::Version,
};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_increments_at_once_are_sixty_four() {
    let bench = Bench::new();
    let id = bench.session().await;
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (records, id) = (bench.records.clone(), id.clone());
            tokio::spawn(async move { add(&records, &id).await.unwrap() })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(
        seen,
        (1..=64).collect::<Vec<_>>(),
        "each saw what the one before it left"
    );
    assert_eq!(bench.stored(&id).await, Some(64));
    assert_eq!(read(&bench.records, &id).await, Some(64));
}

#[tokio::test]
async fn what_gathers_while_the_store_is_at_work_is_saved_together() {
    let bench = Bench::new();
    let id = bench.session().await;
    let before = bench.store.commits.load(SeqCst);
    let gate = bench.store.gate("commit");
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let (records, id) = (bench.records.clone(), id.clone());
        tasks.push(begun(async move { add(&records, &id).await.unwrap() }).await);
    }
    gate.reached().await;
    gate.open_for_all();
    for (nth, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), nth as u64 + 1, "in the order in which they came");
    }
    assert!(bench.store.commits.load(SeqCst) - before <= 2);
    assert_eq!(bench.stored(&id).await, Some(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_increments_on_two_nodes_are_twenty_and_so_are_two_hundred_at_once() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    for _ in 0..10 {
        add(&bench.records, &id).await.unwrap();
        add(&other, &id).await.unwrap();
    }
    assert_eq!(bench.stored(&id).await, Some(20));
    let tasks: Vec<_> = (0..200)
        .map(|nth| {
            let records = if nth % 2 == 0 {
                bench.records.clone()
            } else {
                other.clone()
            };
            let id = id.clone();
            tokio::spawn(async move { add(&records, &id).await })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert!(matches!(error, UpdateError::Contended { .. }), "{error:?}"),
        }
    }
    assert_eq!(
        bench.stored(&id).await,
        Some(20 + done),
        "who was told no is not counted"
    );
    assert!(done > 100, "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_tasks_updating_five_attributes_twenty_times_all_get_through() {
    let bench = Bench::new();
    let id = bench.session().await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (records, id) = (bench.records.clone(), id.clone());
            tokio::spawn(async move {
                for round in 0..20 {
                    let name = format!("a{}", round % 5);
                    let add = records.update(&id, |attributes| attributes.update(&name, |n: &mut u64| *n += 1));
                    add.await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let found = bench.records.get_fresh(&id).await.unwrap().unwrap();
    let sum: u64 = (0..5)
        .map(|nth| found.get::<u64>(&format!("a{nth}")).unwrap().unwrap())
        .sum();
    assert_eq!(sum, 160);
}

#[tokio::test]
async fn a_closure_that_refuses_or_panics_does_so_alone() {
    let bench = Bench::new();
    let id = bench.session().await;
    let gate = bench.store.gate("commit");
    let (records, one) = (bench.records.clone(), id.clone());
    let first = begun(async move { add(&records, &one).await }).await;
    gate.reached().await;

    let (records, one) = (bench.records.clone(), id.clone());
    let refused = begun(async move {
        let change = |attributes: &mut session_process::Attributes| {
            attributes.insert("n", 99)?;
            Err::<(), _>(AttributeError::refuse("no"))
        };
        records.update(&one, change).await
    })
    .await;
    let (records, one) = (bench.records.clone(), id.clone());
    let panicked = begun(async move {
        let change = |attributes: &mut session_process::Attributes| -> Result<(), AttributeError> {
            attributes.insert("n", 99)?;
            panic!("as told")
        };
        records.update(&one, change).await
    })
    .await;
    let (records, one) = (bench.records.clone(), id.clone());
    let last = begun(async move { add(&records, &one).await }).await;

    assert!(panicked.await.unwrap_err().is_panic());
    gate.open_for_all();
    assert_eq!(first.await.unwrap().unwrap(), 1);
    assert!(matches!(refused.await.unwrap(), Err(UpdateError::Refused(_))));
    assert_eq!(last.await.unwrap().unwrap(), 2);
    assert_eq!(bench.stored(&id).await, Some(2));
}

#[tokio::test]
async fn who_saw_what_was_not_saved_yet_is_answered_only_when_it_is() {
    let bench = Bench::new();
    let id = bench.session().await;
    let gate = bench.store.gate("commit");
    let (records, one) = (bench.records.clone(), id.clone());
    let writer = begun(async move { add(&records, &one).await }).await;
    gate.reached().await;
    let (records, one) = (bench.records.clone(), id.clone());
    let reader = begun(async move { records.update(&one, |attributes| attributes.get::<u64>("n")).await }).await;
    assert!(!reader.is_finished());
    bench.store.fail("commit", 1);
    gate.open_for_all();
    assert!(matches!(writer.await.unwrap(), Err(UpdateError::Store(_))));
    assert_eq!(reader.await.unwrap().unwrap(), Some(0), "it ran again on what is there");
}

#[tokio::test]
async fn a_write_that_fails_while_a_hundred_callers_wait_is_counted_for_nobody_who_was_told_so() {
    let bench = Bench::new();
    let id = bench.session().await;
    for point in ["commit", "committed"] {
        let before = bench.stored(&id).await.unwrap();
        let gate = bench.store.gate(point);
        let mut tasks = Vec::new();
        for _ in 0..100 {
            let (records, id) = (bench.records.clone(), id.clone());
            tasks.push(begun(async move { add(&records, &id).await }).await);
        }
        gate.reached().await;
        bench.store.fail(point, 1);
        gate.open_for_all();
        let (mut saved, mut failed) = (0, 0);
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => saved += 1,
                Err(UpdateError::Store(_)) => failed += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((saved, failed), (99, 1), "the one whose write it was");
        // A write whose answer was lost took effect all the same.
        let took_effect = u64::from(point == "committed");
        assert_eq!(bench.stored(&id).await, Some(before + saved + took_effect));
        assert_eq!(read(&bench.records, &id).await, bench.stored(&id).await);
        bench.store.ungate(point);
    }
}

#[tokio::test]
async fn a_deletion_during_an_update_wins_and_nothing_comes_back() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    let gate = bench.store.gate("commit");
    let (records, one) = (bench.records.clone(), id.clone());
    let update = begun(async move { add(&records, &one).await }).await;
    gate.reached().await;
    let (records, one) = (other, id.clone());
    let delete = begun(async move { records.delete(&one).await }).await;
    gate.reached().await;
    // The store takes them in any order; here the update is second.
    bench
        .store
        .inner
        .commit(vec![session_process::store::Change {
            key: (&id).into(),
            expect: Default::default(),
            op: session_process::store::Op::Delete,
        }])
        .await
        .unwrap();
    gate.open_for_all();
    assert!(matches!(update.await.unwrap(), Err(UpdateError::Missing)));
    assert!(!delete.await.unwrap().unwrap());
    assert!(bench.records.get(&id).await.unwrap().is_none());
    assert!(bench.store.inner.is_empty());
}

#[tokio::test]
async fn a_session_that_expires_during_an_update_is_not_updated() {
    let bench = Bench::with(|builder| builder.idle_timeout(MINUTE).store_timeout(HOUR));
    let id = bench.session().await;
    let gate = bench.store.gate("commit");
    let (records, one) = (bench.records.clone(), id.clone());
    let update = begun(async move { add(&records, &one).await }).await;
    gate.reached().await;
    bench.clock.advance(MINUTE);
    gate.open_for_all();
    assert!(matches!(update.await.unwrap(), Err(UpdateError::Missing)));
    assert!(bench.records.get(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn an_update_that_others_always_get_ahead_of_ends_with_an_error() {
    let bench = Bench::new();
    let id = bench.session().await;
    bench.store.meddles.store(true, SeqCst);
    let mut runs = 0;
    let result = bench
        .records
        .update(&id, |attributes| {
            runs += 1;
            attributes.insert("n", runs)
        })
        .await;
    assert!(
        matches!(result, Err(UpdateError::Contended { attempts: 16 })),
        "{result:?}"
    );
    assert_eq!(runs, 16);
    assert_eq!(bench.stored(&id).await, Some(0));
    let wins = bench
        .records
        .update_last_writer_wins(&id, |attributes| attributes.insert("n", 7));
    wins.await.unwrap();
    assert_eq!(bench.stored(&id).await, Some(7));
}

#[tokio::test]
async fn an_expected_version_is_the_only_one_that_is_changed() {
    let bench = Bench::new();
    let other = bench.another();
    let id = bench.session().await;
    let version = bench.records.get(&id).await.unwrap().unwrap().version();
    let set = |n: u64| move |attributes: &mut session_process::Attributes| attributes.insert("n", n);
    bench.records.update_version(&id, version, set(1)).await.unwrap();
    let stale = other.update_version(&id, version, set(2)).await;
    assert!(matches!(stale, Err(UpdateError::Changed { .. })), "{stale:?}");
    let future = bench.records.update_version(&id, Version(u64::MAX >> 1), set(3)).await;
    assert!(matches!(future, Err(UpdateError::Changed { .. })), "{future:?}");
    assert_eq!(bench.stored(&id).await, Some(1));
}

#[tokio::test]
async fn an_update_that_changes_nothing_saves_nothing() {
    let bench = Bench::new();
    let id = bench.session().await;
    let before = (
        bench.store.commits.load(SeqCst),
        bench.records.get(&id).await.unwrap().unwrap().version(),
    );
    bench
        .records
        .update(&id, |attributes| attributes.insert("n", 0))
        .await
        .unwrap();
    let after = (
        bench.store.commits.load(SeqCst),
        bench.records.get_fresh(&id).await.unwrap().unwrap().version(),
    );
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_whole_change() {
    let bench = Bench::new();
    let id = bench.session().await;
    let gate = bench.store.gate("commit");
    let (records, one) = (bench.records.clone(), id.clone());
    let update = begun(async move { add(&records, &one).await }).await;
    gate.reached().await;
    update.abort();
    assert!(update.await.unwrap_err().is_cancelled());
    gate.open_for_all();
    assert_eq!(add(&bench.records, &id).await.unwrap(), 2);
    assert_eq!(read(&bench.records, &id).await, Some(2));
}

#[tokio::test]
async fn an_update_of_no_session_says_so() {
    let bench = Bench::new();
    let result = add(&bench.records, &SessionId::generate()).await;
    assert!(matches!(result, Err(UpdateError::Missing)));
    let expired = bench.create(NewSession::new().lives(SECOND)).await.id;
    bench.clock.advance(SECOND);
    assert!(matches!(add(&bench.records, &expired).await, Err(UpdateError::Missing)));
}

#[tokio::test]
async fn an_update_that_an_overwrite_has_seen_is_not_made_twice() {
    let bench = Bench::new();
    let id = bench.session().await;
    let gate = bench.store.gate("commit");
    let go = || {
        let (records, id) = (bench.records.clone(), id.clone());
        async move {
            add(&records, &id).await.unwrap();
        }
    };
    let one = begun(go()).await;
    gate.reached().await;
    let two = begun(go()).await;
    let (records, other) = (bench.records.clone(), id.clone());
    let three = begun(async move {
        let overwrite = records.update_last_writer_wins(&other, |attributes| attributes.insert("x", 1));
        overwrite.await.unwrap();
    })
    .await;
    bench.store.ungate("commit");
    for task in [one, two, three] {
        task.await.unwrap();
    }
    assert_eq!(bench.stored(&id).await, Some(2));
}
