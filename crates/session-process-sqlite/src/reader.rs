//! The threads that read, each on its own connection. What waits is read together, in one read transaction.

use std::sync::Arc;

use rusqlite::{Connection, params};
use session_process::store::{Owner, Record, SessionKey, StoreError};
use tokio::sync::oneshot;

use crate::{
    builder::Clock,
    error::store_error,
    queue::{Queue, Taken},
    row::{self, With, columns, snapshot_columns},
};

/// Reads that one thread takes together: enough that their common costs vanish, few enough that the other threads
/// find some too.
const TOGETHER: usize = 32;

pub(crate) enum Read {
    Load(
        Vec<SessionKey>,
        oneshot::Sender<Result<Vec<Option<Record>>, StoreError>>,
    ),
    List(Page, oneshot::Sender<Result<Vec<Record>, StoreError>>),
    Locate(
        Vec<SessionKey>,
        oneshot::Sender<Result<Vec<Option<SessionKey>>, StoreError>>,
    ),
}

/// A page of an owner's records.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) owner: Owner,
    pub(crate) after: Option<SessionKey>,
    pub(crate) limit: usize,
}

/// Reads until the queue is closed.
pub(crate) fn run(connection: &Connection, queue: &Arc<Queue<Read>>, clock: &Clock) {
    while let Taken::Work(reads) = queue.take(TOGETHER, None) {
        // A panic (of a test's clock) answers those whose read it was: their senders are dropped.
        let together = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            together(connection, reads, clock);
        }));
        if together.is_err() && !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
}

fn together(connection: &Connection, reads: Vec<Read>, clock: &Clock) {
    // One transaction takes SQLite's read lock once. Without it each statement would for itself, which is as right.
    let transaction = if reads.len() > 1 {
        connection.unchecked_transaction().ok()
    } else {
        None
    };
    for read in reads {
        // Whoever gave up is answered all the same, and doesn't hear it.
        match read {
            Read::Load(keys, reply) if !reply.is_closed() => drop(reply.send(load(connection, &keys, clock))),
            Read::List(page, reply) if !reply.is_closed() => drop(reply.send(list(connection, &page, clock))),
            Read::Locate(keys, reply) if !reply.is_closed() => drop(reply.send(locate(connection, &keys, clock))),
            _ => {}
        }
    }
    if let Some(transaction) = transaction {
        let _ = transaction.commit();
    }
}

fn load(connection: &Connection, keys: &[SessionKey], clock: &Clock) -> Result<Vec<Option<Record>>, StoreError> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        ", ",
        snapshot_columns!(),
        " FROM session WHERE key = ?1 AND ends_at > ?2"
    );
    let fail = |error| store_error("load", error);
    let now = clock().as_micros();
    let mut statement = connection.prepare_cached(SQL).map_err(fail)?;
    let one = |key: &SessionKey| {
        let mut rows = statement.query(params![key.as_bytes(), now]).map_err(fail)?;
        rows.next()
            .map_err(fail)?
            .map(|row| row::record(row, With::Snapshot))
            .transpose()
    };
    keys.iter().map(one).collect()
}

fn locate(
    connection: &Connection,
    first_keys: &[SessionKey],
    clock: &Clock,
) -> Result<Vec<Option<SessionKey>>, StoreError> {
    const SQL: &str = "SELECT key FROM session WHERE first_key = ?1 AND ends_at > ?2
         UNION ALL SELECT key FROM session WHERE key = ?1 AND first_key IS NULL AND ends_at > ?2 LIMIT 1";
    let fail = |error| store_error("locate", error);
    let now = clock().as_micros();
    let mut statement = connection.prepare_cached(SQL).map_err(fail)?;
    let one = |first: &SessionKey| {
        let mut rows = statement.query(params![first.as_bytes(), now]).map_err(fail)?;
        let row = rows.next().map_err(fail)?;
        row.map(|row| row::key(row, 0)).transpose()
    };
    first_keys.iter().map(one).collect()
}

fn list(connection: &Connection, page: &Page, clock: &Clock) -> Result<Vec<Record>, StoreError> {
    // `key > x''` is every key: one statement for the first page and the others.
    macro_rules! page {
        ($condition:literal) => {
            concat!(
                "SELECT ",
                columns!(),
                " FROM session WHERE ",
                $condition,
                " AND key > ?1 AND ends_at > ?2 ORDER BY key LIMIT ?3"
            )
        };
    }
    let fail = |error| store_error("list", error);
    let (sql, owner) = match &page.owner {
        Owner::User(user) => (page!("user_id = ?4"), Some(user.as_str())),
        Owner::Group(group) => (page!("group_id = ?4"), Some(group.as_str())),
        Owner::Everyone => (page!("?4 IS NULL"), None),
        // A kind of owner that this version knows nothing of has no sessions here.
        _ => return Ok(Vec::new()),
    };
    let after: &[u8] = page.after.as_ref().map_or(&[], |key| key.as_bytes());
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql).map_err(fail)?;
    let mut rows = statement
        .query(params![after, clock().as_micros(), limit, owner])
        .map_err(fail)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(fail)? {
        records.push(row::record(row, With::NoSnapshot)?);
    }
    Ok(records)
}
