//! The schema: named steps forward, and whose file it is.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::OpenError;

/// `PRAGMA application_id` of our files: "SesP". It tells a file of ours from another program's, also to `file`.
pub(crate) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"SesP");

/// Every step from an empty file to the present schema. `PRAGMA user_version` counts how many were taken. A step that
/// was released is never changed: another follows.
const STEPS: &[(&str, &str)] = &[
    ("0001_sessions", include_str!("../sql/0001_sessions.sql")),
    ("0002_first_keys", include_str!("../sql/0002_first_keys.sql")),
    ("0003_older_shells", include_str!("../sql/0003_older_shells.sql")),
];

/// Makes the schema, or takes the steps that are missing, all in one transaction.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    if taken(connection, path)? == STEPS.len() {
        return Ok(());
    }
    let fail = |error| OpenError::from_sqlite(error, path);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(fail)?;
    // Once more, now that nobody else can be at it.
    let taken = taken(&transaction, path)?;
    for (name, sql) in STEPS.iter().skip(taken) {
        tracing::debug!(step = name, "session store: schema moves forward");
        transaction.execute_batch(sql).map_err(fail)?;
    }
    let steps = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| transaction.pragma_update(None, "user_version", steps))
        .and_then(|()| transaction.commit())
        .map_err(fail)
}

/// How many steps were taken in this file; an error if it is not ours or from the future.
pub(crate) fn taken(connection: &Connection, path: &Path) -> Result<usize, OpenError> {
    let fail = |error| OpenError::from_sqlite(error, path);
    // Read in one transaction: another process may be making the schema just now.
    let transaction = if connection.is_autocommit() {
        Some(connection.unchecked_transaction().map_err(fail)?)
    } else {
        None
    };
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(fail);
    let objects = number("SELECT count(*) FROM sqlite_schema")?;
    let application_id = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    drop(transaction);
    if application_id != i64::from(APPLICATION_ID) {
        if application_id != 0 || version != 0 || objects != 0 {
            return Err(OpenError::Foreign { path: path.into() });
        }
        return Ok(0);
    }
    match usize::try_from(version) {
        Ok(taken) if taken <= STEPS.len() => Ok(taken),
        _ => Err(OpenError::Newer {
            path: path.into(),
            found: version,
            known: STEPS.len(),
        }),
    }
}
