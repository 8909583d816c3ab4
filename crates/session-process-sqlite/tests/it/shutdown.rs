//! The store is closed.

use std::task::Poll;

use rusqlite::Connection;
use session_process::store::{Create, Notice, SessionStore};

use crate::support::{apply, change, create, fresh, get, key};

#[tokio::test]
async fn a_closed_store_has_finished_what_waited_and_leaves_one_file() {
    let fresh = fresh().await;
    let mut commits: Vec<_> = (0..100)
        .map(|_| fresh.store.commit(vec![change(key(), create(Create::default()))]))
        .collect();
    let mut outcomes = Vec::new();
    for commit in &mut commits {
        // Pushed at the first poll.
        outcomes.push(std::future::poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await);
    }
    fresh.store.shutdown().await;
    for (commit, polled) in commits.into_iter().zip(outcomes) {
        let outcome = match polled {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => commit.await,
        };
        assert!(outcome.unwrap()[0].is_ok());
    }
    let files: Vec<_> = std::fs::read_dir(fresh.directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files, ["sessions.db"], "the log is worked into the file");
    let connection = Connection::open(fresh.path()).unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM session", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 100);
}

#[tokio::test]
async fn a_closed_store_says_that_it_is_closed() {
    let fresh = fresh().await;
    let mut changes = fresh.store.changes();
    fresh.store.shutdown().await;
    fresh.store.shutdown().await;
    for error in [
        fresh.store.load(&[key()]).await.unwrap_err(),
        fresh
            .store
            .commit(vec![change(key(), create(Create::default()))])
            .await
            .unwrap_err(),
        fresh.store.delete_expired(1).await.unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "the session store is not available (it was shut down)"
        );
    }
    assert_eq!(changes.next().await, None);
    assert_eq!(fresh.store.changes().next().await, None);
}

#[tokio::test]
async fn subscribers_hear_the_last_change_and_then_the_end() {
    let fresh = fresh().await;
    let mut changes = fresh.store.changes();
    let key = key();
    let version = apply(&fresh.store, key, create(Create::default()))
        .await
        .unwrap()
        .version;
    assert!(get(&fresh.store, key).await.is_some());
    drop(fresh.store);
    assert_eq!(changes.next().await, Some(Notice::Changed { key, version }));
    assert_eq!(changes.next().await, None);
}
