//! What has expired is removed, in slices.

use rusqlite::{Connection, params};
use session_process::{Timestamp, store::Removed};

use super::statements::{delete, set_sweep, user, version};

/// Rows that one slice looks at: some milliseconds, in which others wait.
const SLICE: usize = 512;

/// What one slice came to.
#[derive(Debug)]
pub(crate) struct Swept {
    pub(crate) removed: Vec<Removed>,
    /// There may be more.
    pub(crate) more: bool,
}

/// Looks at rows whose `sweep_at` has come. Those that were used meanwhile get a new one.
pub(super) fn sweep(connection: &Connection, limit: usize, now: Timestamp) -> rusqlite::Result<Swept> {
    let most = limit.min(SLICE);
    let mut due = connection.prepare_cached(
        "SELECT id, key, version, user_id, ends_at FROM session
         WHERE sweep_at <= ?1 AND sweep_at < 9223372036854775807 ORDER BY sweep_at LIMIT ?2",
    )?;
    // Read to the end before anything is changed: a query must not run over what moves under it.
    let due: Vec<_> = due
        .query_map(
            params![now.as_micros(), i64::try_from(most).unwrap_or(i64::MAX)],
            |row| {
                let key = session_process::store::SessionKey::from_bytes(row.get(1)?);
                let removed = Removed::new(key, version(row, 2)?, user(row, 3)?);
                Ok((row.get::<_, i64>(0)?, removed, Timestamp::from_micros(row.get(4)?)))
            },
        )?
        .collect::<rusqlite::Result<_>>()?;
    let more = due.len() == most && most > 0;
    let mut gone = Vec::new();
    for (id, removed, ends_at) in due {
        if ends_at <= now {
            delete(connection, id, removed.version)?;
            gone.push(removed);
        } else {
            set_sweep(connection, id, ends_at)?;
        }
    }
    Ok(Swept { removed: gone, more })
}
