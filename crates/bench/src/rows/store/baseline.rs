//! What an application would write by hand: one transaction for each save, straight on a connection.
//!
//! The settings of the connection are those of our store, and so are the columns. It runs on one thread, without a
//! runtime in between: SQLite has one writer at a time, so more callers would only wait for each other.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};

/// A connection with `keys.len()` sessions in its table.
#[derive(Debug)]
pub(super) struct Baseline {
    connection: Connection,
    keys: Vec<[u8; 32]>,
    versions: Vec<i64>,
    next: usize,
}

impl Baseline {
    pub(super) fn open(path: &Path, keys: Vec<[u8; 32]>, attributes: &str, snapshot: &[u8]) -> Self {
        let mut connection = Connection::open(path).expect("a fresh file");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
                 PRAGMA cache_size = -16384;
                 CREATE TABLE session (
                     id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, version INTEGER NOT NULL,
                     created_at INTEGER NOT NULL, accessed_at INTEGER NOT NULL, attributes TEXT NOT NULL,
                     snapshot BLOB NOT NULL) STRICT",
            )
            .expect("a table");
        let transaction = connection.transaction().expect("a transaction");
        for key in &keys {
            transaction
                .execute(
                    "INSERT INTO session (key, version, created_at, accessed_at, attributes, snapshot)
                     VALUES (?1, 1, ?2, ?2, ?3, ?4)",
                    params![key, 1_700_000_000_000_000_i64, attributes, snapshot],
                )
                .expect("a row");
        }
        transaction.commit().expect("a commit");
        let versions = vec![1; keys.len()];
        Self {
            connection,
            keys,
            versions,
            next: 0,
        }
    }

    /// Saves one session after the other. Returns saves a second.
    pub(super) fn round(&mut self, length: Duration, snapshot: &[u8]) -> f64 {
        let begin = Instant::now();
        let mut saves = 0_u32;
        while begin.elapsed() < length {
            let nth = self.next;
            self.next = (self.next + 1) % self.keys.len();
            let version = self.versions[nth];
            self.execute("BEGIN IMMEDIATE");
            let changed = self
                .connection
                .prepare_cached(
                    "UPDATE session SET version = ?2 + 1, accessed_at = ?3, snapshot = ?4
                     WHERE key = ?1 AND version = ?2",
                )
                .and_then(|mut update| {
                    update.execute(params![self.keys[nth], version, 1_700_000_000_000_001_i64, snapshot])
                })
                .expect("an update");
            assert_eq!(changed, 1);
            self.execute("COMMIT");
            self.versions[nth] += 1;
            saves += 1;
        }
        f64::from(saves) / begin.elapsed().as_secs_f64()
    }

    fn execute(&self, sql: &str) {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .expect("a statement");
    }
}
