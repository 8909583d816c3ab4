//! A row of the table of sessions, as a [`Record`].

use std::{sync::Arc, time::Duration};

use session_process::{
    Timestamp,
    store::{Epoch, Lifetime, OwnerText, Record, SessionKey, Snapshot, StoreError, Version},
};
use tokio_postgres::{Row, types::FromSql};

use crate::attributes;

/// Whether a row was selected with the columns of its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Snapshot,
    NoSnapshot,
}

/// The columns `{columns}` of a statement.
pub(crate) fn record(row: &Row, with: With) -> Result<Record, StoreError> {
    let key = key(row, 0)?;
    let lifetime = Lifetime {
        expires_at: get::<Option<i64>>(row, 9)?.map(Timestamp::from_micros),
        idle_timeout: get::<Option<i64>>(row, 10)?
            .map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))),
    };
    let created_at = Timestamp::from_micros(get(row, 7)?);
    let mut record = Record::new(key, version(row, 1)?, created_at, lifetime);
    record.epoch = Epoch(get::<i64>(row, 2)?.cast_unsigned());
    let born = version(row, 3)?;
    record.user_id = owner(row, 4)?;
    record.group_id = owner(row, 5)?;
    record.label = owner(row, 6)?;
    record.accessed_at = Timestamp::from_micros(get(row, 8)?);
    record.attributes = attributes::decode(get(row, 11)?, born).map_err(|error| StoreError::Corrupt {
        what: format!(
            "the attributes of {key:?} are no longer JSON (line {}, column {})",
            error.line(),
            error.column()
        ),
    })?;
    if get::<Option<&[u8]>>(row, 12)?.is_some() {
        record.first_key = self::key(row, 12)?;
    }
    if with == With::Snapshot
        && let Some(kind) = get::<Option<&str>>(row, 13)?
    {
        record.snapshot = Some(Snapshot {
            kind: Arc::from(kind),
            schema: u32::try_from(get::<i64>(row, 14)?).map_err(|_| StoreError::Corrupt {
                what: format!("the snapshot of {key:?} has a schema that is no number of a schema"),
            })?,
            bytes: Arc::from(get::<&[u8]>(row, 15)?),
        });
    }
    Ok(record)
}

pub(crate) fn key(row: &Row, index: usize) -> Result<SessionKey, StoreError> {
    let bytes: &[u8] = get(row, index)?;
    bytes
        .try_into()
        .map(SessionKey::from_bytes)
        .map_err(|_| StoreError::Corrupt {
            what: format!("a key of {} bytes", bytes.len()),
        })
}

/// Keys with a version each, one after the other: how a statement says what it changed.
pub(crate) fn entries(row: &Row, index: usize) -> Result<impl Iterator<Item = (SessionKey, Version)>, StoreError> {
    let bytes: &[u8] = get(row, index)?;
    keys_and_versions(bytes).ok_or_else(|| StoreError::Corrupt {
        what: format!("{} bytes of keys and versions", bytes.len()),
    })
}

/// What is in such entries; `None`: they are not whole.
pub(crate) fn keys_and_versions(bytes: &[u8]) -> Option<impl Iterator<Item = (SessionKey, Version)>> {
    let (entries, []) = bytes.as_chunks::<40>() else {
        return None;
    };
    Some(entries.iter().map(|entry| {
        let (key, version) = entry.split_first_chunk().expect("40 bytes");
        let version = u64::from_be_bytes(version.try_into().expect("8 bytes"));
        (SessionKey::from_bytes(*key), Version(version))
    }))
}

pub(crate) fn version(row: &Row, index: usize) -> Result<Version, StoreError> {
    Ok(Version(get::<i64>(row, index)?.cast_unsigned()))
}

pub(crate) fn owner(row: &Row, index: usize) -> Result<Option<OwnerText>, StoreError> {
    get::<Option<&str>>(row, index)?.map(OwnerText::new).transpose()
}

pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::Corrupt {
        what: format!("a row that this store did not write ({error})"),
    })
}

/// Microseconds, as the database keeps them; 292,000 years and more are all the same.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
