//! How many sessions a user may have. Judged inside the transaction, which holds the file's write lock: no other
//! process and no other thread can add one meanwhile.

use rusqlite::{Connection, params};
use session_process::{
    Timestamp,
    store::{Conflict, OwnerLimit, OwnerLimitPolicy, OwnerText, Removed, SessionKey},
};

use super::statements::{delete, version};

/// Makes room for one more session of `user`, not counting the row `itself`. The inner error is the limit's.
pub(super) fn make_room(
    connection: &Connection,
    user: Option<&OwnerText>,
    limit: Option<OwnerLimit>,
    itself: Option<i64>,
    now: Timestamp,
) -> rusqlite::Result<Result<Vec<Removed>, Conflict>> {
    let (Some(user), Some(OwnerLimit { max, policy })) = (user, limit) else {
        return Ok(Ok(Vec::new()));
    };
    let whose = params![user.as_str(), now.as_micros(), itself];
    let others: i64 = connection
        .prepare_cached("SELECT count(*) FROM session WHERE user_id = ?1 AND ends_at > ?2 AND id IS NOT ?3")?
        .query_row(whose, |row| row.get(0))?;
    let too_many = others + 1 - i64::from(max.get());
    if too_many <= 0 {
        return Ok(Ok(Vec::new()));
    }
    if policy != OwnerLimitPolicy::EvictOldest {
        return Ok(Err(Conflict::OwnerLimit { max }));
    }
    let mut oldest = connection.prepare_cached(
        "SELECT id, key, version FROM session WHERE user_id = ?1 AND ends_at > ?2 AND id IS NOT ?3
         ORDER BY accessed_at, key LIMIT ?4",
    )?;
    let oldest: Vec<(i64, Removed)> = oldest
        .query_map(params![user.as_str(), now.as_micros(), itself, too_many], |row| {
            let key = SessionKey::from_bytes(row.get(1)?);
            Ok((row.get(0)?, Removed::new(key, version(row, 2)?, Some(user.clone()))))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, removed) in &oldest {
        delete(connection, *id, removed.version)?;
    }
    Ok(Ok(oldest.into_iter().map(|(_, removed)| removed).collect()))
}
