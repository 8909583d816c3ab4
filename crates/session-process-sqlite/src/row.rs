//! A row of the table `session`, as a [`Record`] and back.

use std::{sync::Arc, time::Duration};

use rusqlite::{Row, types::ValueRef};
use session_process::{
    Timestamp,
    store::{Attribute, Epoch, Lifetime, OwnerText, Record, SessionKey, Snapshot, StoreError, Version},
};

use crate::{attributes, error::store_error};

/// The columns that [`record`] reads, in its order; the snapshot's last.
macro_rules! columns {
    () => {
        "key, version, epoch, user_id, group_id, label, created_at, accessed_at, expires_at, idle_timeout, attributes, \
         first_key"
    };
}
/// The columns of a snapshot, after those.
macro_rules! snapshot_columns {
    () => {
        "snapshot_kind, snapshot_schema, snapshot"
    };
}
pub(crate) use {columns, snapshot_columns};

/// Whether a row was selected with the columns of its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Snapshot,
    NoSnapshot,
}

pub(crate) fn record(row: &Row<'_>, with: With) -> Result<Record, StoreError> {
    let key = key(row, 0)?;
    let get = |index: usize| row.get::<_, i64>(index).map_err(read);
    let time = |index: usize| get(index).map(Timestamp::from_micros);
    let optional = |index: usize| row.get::<_, Option<i64>>(index).map_err(read);
    let lifetime = lifetime(optional(8)?, optional(9)?);
    let version = Version(get(1)?.cast_unsigned());
    let mut record = Record::new(key, version, time(6)?, lifetime);
    record.accessed_at = time(7)?;
    record.epoch = Epoch(get(2)?.cast_unsigned());
    record.user_id = owner(row, 3)?;
    record.group_id = owner(row, 4)?;
    record.label = owner(row, 5)?;
    record.attributes = attributes::decode(text(row, 10)?).map_err(|error| StoreError::Corrupt {
        what: format!(
            "the attributes of {key:?} are no longer JSON (line {}, column {})",
            error.line(),
            error.column()
        ),
    })?;
    if row.get_ref(11).map_err(read)? != ValueRef::Null {
        record.first_key = self::key(row, 11)?;
    }
    if with == With::Snapshot {
        record.snapshot = snapshot(row, 12)?;
    }
    Ok(record)
}

pub(crate) fn key(row: &Row<'_>, index: usize) -> Result<SessionKey, StoreError> {
    row.get::<_, [u8; 32]>(index).map(SessionKey::from_bytes).map_err(read)
}

pub(crate) fn owner(row: &Row<'_>, index: usize) -> Result<Option<OwnerText>, StoreError> {
    match row.get_ref(index).map_err(read)? {
        ValueRef::Null => Ok(None),
        _ => OwnerText::new(text(row, index)?).map(Some),
    }
}

pub(crate) fn text<'a>(row: &'a Row<'_>, index: usize) -> Result<&'a str, StoreError> {
    let value = row.get_ref(index).map_err(read)?;
    value.as_str().map_err(|error| StoreError::Corrupt {
        what: format!("a column that should be text ({error})"),
    })
}

pub(crate) fn lifetime(expires_at: Option<i64>, idle_timeout: Option<i64>) -> Lifetime {
    Lifetime {
        expires_at: expires_at.map(Timestamp::from_micros),
        idle_timeout: idle_timeout.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))),
    }
}

/// Microseconds, as the file keeps them; 292,000 years and more are all the same.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn snapshot(row: &Row<'_>, first: usize) -> Result<Option<Snapshot>, StoreError> {
    if row.get_ref(first).map_err(read)? == ValueRef::Null {
        return Ok(None);
    }
    let bytes = row.get_ref(first + 2).map_err(read)?;
    Ok(Some(Snapshot {
        kind: Arc::from(text(row, first)?),
        schema: row.get(first + 1).map_err(read)?,
        bytes: bytes.as_blob().map(Arc::from).map_err(|error| StoreError::Corrupt {
            what: format!("a column that should be bytes ({error})"),
        })?,
    }))
}

fn read(error: rusqlite::Error) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match error {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => StoreError::Corrupt {
            what: format!("a row that this store did not write ({error})"),
        },
        other => store_error("read a row", other),
    }
}

/// The same value, whatever white space is around it.
pub(crate) fn same(a: &Attribute, b: &Attribute) -> bool {
    a.json.trim_ascii() == b.json.trim_ascii() && a.expires_at == b.expires_at
}
