//! Changes that gather go together, and none is harmed by its neighbours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use session_process::{
    Timestamp,
    store::{Attribute, Create, Edit, Fence, LockName, SessionStore, Snapshot, StoreError, Token, Version},
};
use session_process_sqlite::SqliteStore;

use crate::support::{apply, change, create, edit, fresh, get, key, labelled};

/// Holds the file's write lock: what is committed meanwhile gathers.
struct Held(Connection);

impl Held {
    fn take(path: &std::path::Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[tokio::test]
async fn what_gathers_while_the_file_is_busy_is_one_transaction() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let watcher = Connection::open(fresh.path()).unwrap();
    let held = Held::take(&fresh.path());
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { apply(&store, key(), create(Create::default())).await })
        })
        .collect();
    // All of them have been polled, and so pushed, when this task comes again.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    held.release();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let rows: i64 = watcher
        .query_row("SELECT count(*) FROM session", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 200);
    // A transaction each would be 200 frames or more; together they fill a few dozen pages.
    let frames: i64 = watcher
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
        .unwrap();
    assert!(frames < 100, "{frames} pages were written");
}

#[tokio::test]
async fn a_change_that_sqlite_refuses_does_not_take_its_neighbours_with_it() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let (good, bad, other) = (key(), key(), key());
    for key in [good, bad, other] {
        apply(store, key, create(Create::default())).await.unwrap();
    }
    Connection::open(fresh.path())
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER refuses BEFORE UPDATE ON session WHEN new.label = 'poison'
             BEGIN SELECT raise(ABORT, 'poisoned'); END",
        )
        .unwrap();
    let held = Held::take(&fresh.path());
    let (first, poisoned, last) = (
        store.commit(vec![change(good, labelled("first"))]),
        store.commit(vec![change(other, labelled("whole")), change(bad, labelled("poison"))]),
        store.commit(vec![change(good, labelled("last"))]),
    );
    let release = async { held.release() };
    let (first, poisoned, last, ()) = tokio::join!(biased; first, poisoned, last, release);
    assert!(first.unwrap()[0].is_ok() && last.unwrap()[0].is_ok());
    let error = poisoned.unwrap_err();
    assert_eq!(error.kind(), "failed");
    assert_eq!(get(store, good).await.unwrap().label.unwrap().as_str(), "last");
    assert_eq!(
        get(store, other).await.unwrap().label,
        None,
        "a batch that failed is not half there"
    );
}

#[tokio::test]
async fn a_panic_answers_its_callers_and_the_store_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let panics = Arc::new(AtomicBool::new(false));
    let trigger = Arc::clone(&panics);
    let store = SqliteStore::builder(directory.path().join("sessions.db"))
        .clock(move || {
            assert!(!trigger.load(Ordering::Acquire), "the clock breaks");
            Timestamp::system()
        })
        .open()
        .await
        .unwrap();
    let key = key();
    apply(&store, key, create(Create::default())).await.unwrap();
    panics.store(true, Ordering::Release);
    let commits = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(vec![change(key, labelled("lost"))]).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        assert_eq!(commit.await.unwrap().unwrap_err().kind(), "failed");
    }
    assert_eq!(store.load(&[key]).await.unwrap_err().kind(), "failed");
    assert_eq!(store.delete_expired(1).await.unwrap_err().kind(), "failed");
    panics.store(false, Ordering::Release);
    assert_eq!(get(&store, key).await.unwrap().label, None);
    apply(&store, key, labelled("kept")).await.unwrap();
}

#[tokio::test]
async fn more_than_may_wait_is_refused_and_what_waits_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::builder(directory.path().join("sessions.db"))
        .queue_bytes(10_000)
        .open()
        .await
        .unwrap();
    let state = Snapshot {
        kind: "cart".into(),
        schema: 1,
        bytes: vec![7; 2000].into(),
    };
    let held = Held::take(store.path());
    let tasks: Vec<_> = (0..40)
        .map(|_| {
            let (store, state) = (store.clone(), state.clone());
            let new = create(Create {
                snapshot: Some(state),
                ..Create::default()
            });
            tokio::spawn(async move { store.commit(vec![change(key(), new)]).await })
        })
        .collect();
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    held.release();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    let refused = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(StoreError::Overloaded)))
        .count();
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(refused + done, 40);
    // Four fit, beside those that the writer had taken already.
    assert!(refused > 0 && done >= 4, "{refused} refused, {done} done");
    let owner = session_process::store::Owner::Everyone;
    assert_eq!(store.list(&owner, None, 100).await.unwrap().len(), done);
    // One that is larger than the queue goes when nothing else waits.
    let large = Snapshot {
        bytes: vec![7; 100_000].into(),
        ..state
    };
    let new = create(Create {
        snapshot: Some(large),
        ..Create::default()
    });
    apply(&store, key(), new).await.unwrap();
}

#[tokio::test]
async fn a_value_that_is_not_json_is_refused_before_anything_is_done() {
    let fresh = fresh().await;
    let key = key();
    apply(&fresh.store, key, create(Create::default())).await.unwrap();
    let broken = Attribute {
        json: "{\"half".into(),
        version: Version(0),
        expires_at: None,
    };
    let attributes = Some([("a".into(), broken)].into());
    let batch = vec![
        change(key, labelled("x")),
        change(
            key,
            edit(Edit {
                attributes,
                ..Edit::default()
            }),
        ),
    ];
    let error = fresh.store.commit(batch).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the session store failed (an attribute's value is not JSON)"
    );
    assert_eq!(get(&fresh.store, key).await.unwrap().label, None);
}

#[tokio::test]
async fn a_save_in_one_statement_keeps_the_rules_of_the_long_way() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let key = key();
    let soon = fresh.clock.now().saturating_add(Duration::from_secs(10));
    let brief = Attribute {
        json: "1".into(),
        version: Version(0),
        expires_at: Some(soon),
    };
    let new = Create {
        attributes: [("brief".into(), brief)].into(),
        lifetime: session_process::store::Lifetime {
            expires_at: None,
            idle_timeout: Some(Duration::from_secs(60)),
        },
        ..Create::default()
    };
    let mut version = apply(store, key, create(new)).await.unwrap().version;
    for round in 0..10_u8 {
        fresh.clock.advance(Duration::from_secs(40));
        let state = Snapshot {
            kind: "cart".into(),
            schema: 1,
            bytes: [round].into(),
        };
        let save = Edit {
            snapshot: Some(Some(state.clone())),
            accessed_at: Some(fresh.clock.now()),
            ..Edit::default()
        };
        let mut save = change(key, edit(save));
        save.expect.version = Some(version);
        let next = store
            .commit(vec![save.clone()])
            .await
            .unwrap()
            .remove(0)
            .unwrap()
            .version;
        assert!(next > version);
        let record = get(store, key).await.unwrap();
        assert_eq!((record.version, record.snapshot), (next, Some(state)));
        assert_eq!(record.accessed_at, fresh.clock.now());
        assert!(record.attributes.is_empty(), "the brief one is over");
        assert!(
            store.commit(vec![save]).await.unwrap().remove(0).is_err(),
            "its version is old now"
        );
        version = next;
    }
    fresh.clock.advance(Duration::from_secs(60));
    assert_eq!(get(store, key).await, None);
    assert_eq!(store.delete_expired(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_under_a_lock_fails_since_there_are_none_here() {
    let fresh = fresh().await;
    let key = key();
    apply(&fresh.store, key, create(Create::default())).await.unwrap();
    let fenced = Edit {
        user_id: Some(None),
        accessed_at: Some(Timestamp::MAX),
        fence: Some(Fence {
            lock: LockName::new("a").key(),
            token: Token(1),
        }),
        ..Edit::default()
    };
    let failed = fresh.store.commit(vec![change(key, edit(fenced))]).await;
    assert!(matches!(failed, Err(StoreError::Failed { .. })), "{failed:?}");
    assert!(get(&fresh.store, key).await.unwrap().accessed_at < Timestamp::MAX);
    assert!(apply(&fresh.store, key, labelled("it goes on")).await.is_ok());
}
