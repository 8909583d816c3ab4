//! Two stores on one file, as two processes have them: each with connections of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use session_process::store::{Conflict, Create, Expect, Notice, Op, Owner, OwnerLimit, OwnerLimitPolicy, SessionStore};
use session_process_sqlite::{OpenError, SqliteStore};

use crate::support::{apply, change, create, edit, fresh, get, key, labelled, owner};

#[tokio::test]
async fn each_sees_at_once_what_the_other_has_acknowledged() {
    let one = fresh().await;
    let two = SqliteStore::open(one.path()).await.unwrap();
    let key = key();
    let first = apply(&one.store, key, create(Create::default())).await.unwrap().version;
    assert_eq!(get(&two, key).await.unwrap().version, first);
    apply(&two, key, labelled("two")).await.unwrap();
    let mut stale = change(key, labelled("one"));
    stale.expect = Expect {
        version: Some(first),
        epoch: None,
    };
    let outcome = one.store.commit(vec![stale]).await.unwrap().remove(0);
    assert!(matches!(outcome, Err(Conflict::Version { .. })), "{outcome:?}");
    let second = apply(&two, key, Op::Delete).await.unwrap().version;
    assert_eq!(apply(&one.store, key, labelled("late")).await, Err(Conflict::Missing));
    assert!(apply(&one.store, key, create(Create::default())).await.unwrap().version > second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_over_both_and_no_change_of_either_is_lost() {
    let one = fresh().await;
    let stores = [one.store.clone(), SqliteStore::open(one.path()).await.unwrap()];
    let over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (store, over) = (stores[0].clone(), Arc::clone(&over));
        tokio::spawn(async move {
            while !over.load(Ordering::Acquire) {
                let seen = store.list(&Owner::User(owner("ada")), None, 100).await.unwrap().len();
                assert!(seen <= 5, "{seen} sessions");
                tokio::task::yield_now().await;
            }
        })
    };
    let limit = OwnerLimit {
        max: 5.try_into().unwrap(),
        policy: OwnerLimitPolicy::Reject,
    };
    let tasks: Vec<_> = (0..100)
        .map(|nth| {
            let store = stores[nth % 2].clone();
            tokio::spawn(async move {
                let new = Create {
                    user_id: Some(owner("ada")),
                    limit: Some(limit),
                    ..Create::default()
                };
                let limited = apply(&store, key(), create(new)).await.is_ok();
                apply(&store, key(), create(Create::default())).await.unwrap();
                limited
            })
        })
        .collect();
    let mut successes = 0;
    for task in tasks {
        successes += usize::from(task.await.unwrap());
    }
    over.store(true, Ordering::Release);
    watcher.await.unwrap();
    assert_eq!(successes, 5);
    assert_eq!(stores[1].list(&Owner::Everyone, None, 1000).await.unwrap().len(), 105);
}

#[tokio::test]
async fn what_the_other_changed_is_told_as_lost_notices() {
    let one = fresh().await;
    let two = SqliteStore::builder(one.path())
        .watch_interval(Duration::from_millis(5))
        .open()
        .await
        .unwrap();
    let mut changes = two.changes();
    let (mine, theirs) = (key(), key());
    let version = apply(&two, mine, create(Create::default())).await.unwrap().version;
    // (Opening the second store told the first nothing; its own changes are told as such.)
    assert_eq!(changes.next().await, Some(Notice::Changed { key: mine, version }));
    apply(&one.store, theirs, create(Create::default())).await.unwrap();
    assert_eq!(changes.next().await, Some(Notice::Lagged));
    assert!(get(&two, theirs).await.is_some());
}

#[tokio::test]
async fn a_file_that_another_process_keeps_locked_is_an_error_and_then_works_again() {
    let one = fresh().await;
    let store = SqliteStore::builder(one.path())
        .busy_timeout(Duration::from_millis(20))
        .open()
        .await
        .unwrap();
    let present = key();
    apply(&store, present, create(Create::default())).await.unwrap();
    let other = Connection::open(one.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..3 {
        let error = store
            .commit(vec![change(key(), create(Create::default()))])
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("locked by another process"), "{error}");
    }
    // Reading needs no lock that they hold.
    assert!(get(&store, present).await.is_some());
    other.execute_batch("COMMIT").unwrap();
    apply(&store, present, labelled("works again")).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_locked_while_it_is_opened_is_a_clear_error() {
    let one = fresh().await;
    one.store.shutdown().await;
    let other = Connection::open(one.path()).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT; BEGIN EXCLUSIVE")
        .unwrap();
    let open = || {
        SqliteStore::builder(one.path())
            .busy_timeout(Duration::from_millis(20))
            .open()
    };
    let error = open().await.unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    drop(other);
    open().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_open_one_new_file_at_once_all_come_in() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/sessions.db");
        let opens: Vec<_> = (0..8).map(|_| tokio::spawn(SqliteStore::open(path.clone()))).collect();
        let mut stores = Vec::new();
        for open in opens {
            stores.push(open.await.unwrap().unwrap());
        }
        let key = key();
        apply(&stores[0], key, create(Create::default())).await.unwrap();
        apply(&stores[7], key, edit(Default::default())).await.unwrap();
    }
}
