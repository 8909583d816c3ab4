//! The file is not what it should be: each is a clear error, and nothing in the file is changed.

use std::fs;

use rusqlite::Connection;
use session_process::store::{Create, SessionStore};
use session_process_sqlite::{OpenError, SqliteStore};

use crate::support::{apply, create, fresh, get, key, labelled};

#[tokio::test]
async fn a_missing_file_is_created_with_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory
        .path()
        .join("var/lib/shop with a space/sess%20ions?mode=ro#1.db");
    let store = SqliteStore::open(&path).await.unwrap();
    apply(&store, key(), create(Create::default())).await.unwrap();
    assert!(path.is_file());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600, "sessions are nobody else's affair");
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}

#[tokio::test]
async fn what_was_saved_is_there_after_the_next_opening() {
    let fresh = fresh().await;
    let key = key();
    apply(&fresh.store, key, create(Create::default())).await.unwrap();
    apply(&fresh.store, key, labelled("kept")).await.unwrap();
    let before = get(&fresh.store, key).await;
    fresh.store.shutdown().await;
    for _ in 0..3 {
        let again = SqliteStore::open(fresh.path()).await.unwrap();
        assert_eq!(get(&again, key).await, before);
    }
}

#[tokio::test]
async fn what_is_not_a_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("short", b"hello".to_vec()),
        ("text", b"not a database, whatever its name says. ".repeat(200)),
        ("zeros", vec![0; 8192]),
        ("header", [b"SQLite format 3\0".to_vec(), vec![0xff; 8000]].concat()),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, &content).unwrap();
        let error = SqliteStore::open(&path).await.unwrap_err();
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content, "{name} was changed");
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_store() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let store = SqliteStore::open(file.path()).await.unwrap();
    apply(&store, key(), create(Create::default())).await.unwrap();
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for (name, sql) in [
        ("tables", "CREATE TABLE session (id)"),
        ("version", "PRAGMA user_version = 1"),
        ("application", "PRAGMA application_id = 77"),
    ] {
        let path = directory.path().join(name);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).await.unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{name}: {error:?}");
        assert_eq!(fs::read(&path).unwrap(), before, "{name} was changed");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let fresh = fresh().await;
    fresh.store.shutdown().await;
    Connection::open(fresh.path())
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    let error = SqliteStore::open(fresh.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
    assert!(error.to_string().contains("newer"), "{error}");
}

#[tokio::test]
async fn a_directory_in_place_of_the_file_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let error = SqliteStore::open(directory.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::Create { .. }), "{error:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = SqliteStore::open(file.path().join("below/a/file.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Create { .. }), "{error:?}");
}

#[tokio::test]
async fn a_row_that_somebody_damaged_is_an_error_and_not_absent() {
    let fresh = fresh().await;
    let (damaged, whole) = (key(), key());
    for key in [damaged, whole] {
        apply(&fresh.store, key, create(Create::default())).await.unwrap();
    }
    Connection::open(fresh.path())
        .unwrap()
        .execute(
            "UPDATE session SET attributes = '{\"half' WHERE key = ?1",
            [damaged.as_bytes()],
        )
        .unwrap();
    let error = fresh.store.load(&[damaged]).await.unwrap_err();
    assert_eq!(error.kind(), "corrupt");
    assert!(error.to_string().contains(&format!("{damaged:?}")), "{error}");
    assert!(get(&fresh.store, whole).await.is_some());
    // It can still be taken away.
    apply(&fresh.store, damaged, session_process::store::Op::Delete)
        .await
        .unwrap();
}
