//! The statements that change rows; and the row that a change is judged by.

use rusqlite::{Connection, OptionalExtension, Row, params};
use session_process::{
    Timestamp,
    store::{Epoch, Lifetime, OwnerText, Removed, SessionKey, Version},
};

use crate::row;

/// What of a row a change is judged by, whether or not its time is over.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) id: i64,
    pub(super) version: Version,
    pub(super) epoch: Epoch,
    pub(super) user_id: Option<OwnerText>,
    pub(super) accessed_at: Timestamp,
    pub(super) lifetime: Lifetime,
    pub(super) ends_at: Timestamp,
    pub(super) sweep_at: Timestamp,
    pub(super) attributes: String,
}

impl Head {
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.ends_at > now
    }

    pub(super) fn removed(&self, key: SessionKey) -> Removed {
        Removed::new(key, self.version, self.user_id.clone())
    }
}

pub(super) fn head(connection: &Connection, key: &SessionKey) -> rusqlite::Result<Option<Head>> {
    connection
        .prepare_cached(
            "SELECT id, version, epoch, user_id, accessed_at, expires_at, idle_timeout, ends_at, sweep_at, attributes
             FROM session WHERE key = ?1",
        )?
        .query_row([key.as_bytes()], |row| {
            Ok(Head {
                id: row.get(0)?,
                version: version(row, 1)?,
                epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()),
                user_id: user(row, 3)?,
                accessed_at: Timestamp::from_micros(row.get(4)?),
                lifetime: row::lifetime(row.get(5)?, row.get(6)?),
                ends_at: Timestamp::from_micros(row.get(7)?),
                sweep_at: Timestamp::from_micros(row.get(8)?),
                attributes: row.get(9)?,
            })
        })
        .optional()
}

pub(super) fn version(row: &Row<'_>, index: usize) -> rusqlite::Result<Version> {
    Ok(Version(row.get::<_, i64>(index)?.cast_unsigned()))
}

pub(super) fn user(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<OwnerText>> {
    // Only somebody else can have written a text that is no owner's; it is nobody's then.
    Ok(row
        .get_ref(index)?
        .as_str_or_null()?
        .and_then(|text| OwnerText::new(text).ok()))
}

/// Takes a row away and remembers that its version was given.
pub(super) fn delete(connection: &Connection, id: i64, version: Version) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM session WHERE id = ?1")?
        .execute([id])?;
    raise_floor(connection, version)
}

pub(super) fn raise_floor(connection: &Connection, version: Version) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE store SET version_floor = ?1 WHERE version_floor < ?1")?
        .execute([version.0.cast_signed()])
        .map(drop)
}

/// The first version of a record that comes to a key where `before` may have been.
pub(super) fn first_version(connection: &Connection, before: Version) -> rusqlite::Result<Version> {
    let floor = connection
        .prepare_cached("SELECT version_floor FROM store")?
        .query_row([], |row| version(row, 0))?;
    Ok(Version(floor.max(before).0 + 1))
}

pub(super) fn set_sweep(connection: &Connection, id: i64, at: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE session SET sweep_at = ?2 WHERE id = ?1")?
        .execute(params![id, at.as_micros()])
        .map(drop)
}
