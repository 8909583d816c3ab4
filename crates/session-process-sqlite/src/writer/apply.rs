//! One change, applied inside the transaction of its group.
//!
//! An `Err` is SQLite's, and the whole transaction is rolled back for it. A conflict is an outcome: it is found before
//! anything is written.

use rusqlite::{Connection, OptionalExtension, params};
use session_process::{
    Timestamp,
    store::{
        AttributeMap, Change, Changed, Conflict, Create, Edit, Expect, Notice, Op, Outcome, OwnerText, Record,
        SessionKey, Snapshot, Version,
    },
};

use super::{
    notice_of,
    owner_limit::make_room,
    save::save,
    statements::{Head, delete, first_version, head, raise_floor, set_sweep},
};
use crate::{
    attributes,
    row::{self, With, columns, snapshot_columns},
};

pub(super) fn apply(
    connection: &Connection,
    change: &Change,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) -> rusqlite::Result<Outcome> {
    let key = change.key;
    if let Some(version) = save(connection, change, now)? {
        notices.push(Notice::Changed { key, version });
        return Ok(Ok(Changed::to(version)));
    }
    let found = head(connection, &key)?;
    if let Op::Create(new) = &change.op {
        return create(connection, key, found, new, now, notices);
    }
    let Some(before) = found.filter(|head| head.is_live(now)) else {
        return Ok(Err(Conflict::Missing));
    };
    if let Some(conflict) = conflict(connection, &key, &before, change.expect)? {
        return Ok(Err(conflict));
    }
    match &change.op {
        Op::Edit(edit) => self::edit(connection, key, &before, edit, now, notices),
        Op::Rotate(to) => rotate(connection, key, &before, *to, now, notices),
        Op::Delete => {
            let removed = before.removed(key);
            delete(connection, before.id, before.version)?;
            notices.push(notice_of(&removed));
            Ok(Ok(Changed::to(before.version)))
        }
        _ => Err(rusqlite::Error::ToSqlConversionFailure(
            "an operation that this version of the store doesn't know".into(),
        )),
    }
}

fn conflict(
    connection: &Connection,
    key: &SessionKey,
    before: &Head,
    expect: Expect,
) -> rusqlite::Result<Option<Conflict>> {
    // The epoch first: who is no longer the owner has nothing to read again and retry.
    if expect.epoch.is_some_and(|epoch| epoch != before.epoch) {
        return Ok(Some(Conflict::Epoch { epoch: before.epoch }));
    }
    if expect.version.is_some_and(|version| version != before.version) {
        let record = whole(connection, key)?.map(Box::new);
        return Ok(Some(Conflict::Version {
            version: before.version,
            record,
        }));
    }
    Ok(None)
}

/// The record for whoever lost against it. One that can't be read is theirs to find out.
fn whole(connection: &Connection, key: &SessionKey) -> rusqlite::Result<Option<Record>> {
    const SQL: &str = concat!(
        "SELECT ",
        columns!(),
        ", ",
        snapshot_columns!(),
        " FROM session WHERE key = ?1"
    );
    let mut statement = connection.prepare_cached(SQL)?;
    let record = statement
        .query_row([key.as_bytes()], |row| Ok(row::record(row, With::Snapshot).ok()))
        .optional()?;
    Ok(record.flatten())
}

fn create(
    connection: &Connection,
    key: SessionKey,
    found: Option<Head>,
    new: &Create,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) -> rusqlite::Result<Outcome> {
    if found.as_ref().is_some_and(|head| head.is_live(now)) {
        return Ok(Err(Conflict::Exists));
    }
    let evicted = match make_room(connection, new.user_id.as_ref(), new.limit, None, now)? {
        Ok(evicted) => evicted,
        Err(limit) => return Ok(Err(limit)),
    };
    notices.extend(evicted.iter().map(notice_of));
    let version = clear(connection, key, found, Version(0), notices)?;
    let ends_at = new.lifetime.ends(now).as_micros();
    let snapshot = new.snapshot.as_ref();
    connection
        .prepare_cached(
            "INSERT INTO session (key, version, user_id, group_id, label, created_at, accessed_at, expires_at,
                 idle_timeout, ends_at, sweep_at, attributes, snapshot_kind, snapshot_schema, snapshot)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            key.as_bytes(),
            version.0.cast_signed(),
            text(new.user_id.as_ref()),
            text(new.group_id.as_ref()),
            text(new.label.as_ref()),
            now.as_micros(),
            new.lifetime.expires_at.map(Timestamp::as_micros),
            new.lifetime.idle_timeout.map(row::micros),
            ends_at,
            attributes::encode(&stamped(&AttributeMap::new(), &new.attributes, version, now)),
            snapshot.map(|snapshot| &*snapshot.kind),
            snapshot.map(|snapshot| snapshot.schema),
            snapshot.map(|snapshot| &*snapshot.bytes),
        ])?;
    notices.push(Notice::Changed { key, version });
    Ok(Ok(Changed::to(version).with_evicted(evicted)))
}

/// Takes away what has expired under a key that something new comes to; and the version of that.
fn clear(
    connection: &Connection,
    key: SessionKey,
    expired: Option<Head>,
    above: Version,
    notices: &mut Vec<Notice>,
) -> rusqlite::Result<Version> {
    if let Some(expired) = expired {
        delete(connection, expired.id, expired.version)?;
        notices.push(notice_of(&expired.removed(key)));
    }
    first_version(connection, above)
}

fn edit(
    connection: &Connection,
    key: SessionKey,
    before: &Head,
    edit: &Edit,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) -> rusqlite::Result<Outcome> {
    if edit.fence.is_some() {
        return Err(rusqlite::Error::ToSqlConversionFailure(
            "a change under a lock, and this store has no locks".into(),
        ));
    }
    if edit.epoch.is_some_and(|epoch| epoch <= before.epoch) {
        return Ok(Err(Conflict::Epoch { epoch: before.epoch }));
    }
    let moves_to = edit.user_id.as_ref().filter(|user| **user != before.user_id);
    let evicted = match moves_to {
        Some(user) => match make_room(connection, user.as_ref(), edit.limit, Some(before.id), now)? {
            Ok(evicted) => evicted,
            Err(limit) => return Ok(Err(limit)),
        },
        None => Vec::new(),
    };
    notices.extend(evicted.iter().map(notice_of));

    let version = Version(before.version.0 + 1);
    let lifetime = edit.lifetime.unwrap_or(before.lifetime);
    let accessed_at = edit
        .accessed_at
        .map_or(before.accessed_at, |at| at.max(before.accessed_at));
    let ends_at = lifetime.ends(accessed_at);
    if ends_at < before.sweep_at {
        // First: `sweep_at` is never after `ends_at`, and the table checks it.
        set_sweep(connection, before.id, ends_at)?;
    }
    connection
        .prepare_cached(
            "UPDATE session SET version = ?2, epoch = ?3, accessed_at = ?4, expires_at = ?5, idle_timeout = ?6,
                 ends_at = ?7, attributes = coalesce(?8, attributes) WHERE id = ?1",
        )?
        .execute(params![
            before.id,
            version.0.cast_signed(),
            edit.epoch.unwrap_or(before.epoch).0.cast_signed(),
            accessed_at.as_micros(),
            lifetime.expires_at.map(Timestamp::as_micros),
            lifetime.idle_timeout.map(row::micros),
            ends_at.as_micros(),
            new_attributes(before, edit, version, now)?,
        ])?;
    if let Some(snapshot) = &edit.snapshot {
        set_snapshot(connection, before.id, snapshot.as_ref())?;
    }
    // On their own, since they would touch their indices even where they are as they were.
    if moves_to.is_some() {
        set_owner(
            connection,
            "UPDATE session SET user_id = ?2 WHERE id = ?1",
            before.id,
            edit.user_id.as_ref(),
        )?;
    }
    set_owner(
        connection,
        "UPDATE session SET group_id = ?2 WHERE id = ?1",
        before.id,
        edit.group_id.as_ref(),
    )?;
    set_owner(
        connection,
        "UPDATE session SET label = ?2 WHERE id = ?1",
        before.id,
        edit.label.as_ref(),
    )?;
    notices.push(Notice::Changed { key, version });
    Ok(Ok(Changed::to(version).with_evicted(evicted)))
}

fn set_snapshot(connection: &Connection, id: i64, snapshot: Option<&Snapshot>) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE session SET snapshot_kind = ?2, snapshot_schema = ?3, snapshot = ?4 WHERE id = ?1")?
        .execute(params![
            id,
            snapshot.map(|snapshot| &*snapshot.kind),
            snapshot.map(|snapshot| snapshot.schema),
            snapshot.map(|snapshot| &*snapshot.bytes),
        ])
        .map(drop)
}

fn set_owner(
    connection: &Connection,
    sql: &'static str,
    id: i64,
    new: Option<&Option<OwnerText>>,
) -> rusqlite::Result<()> {
    let Some(new) = new else { return Ok(()) };
    connection
        .prepare_cached(sql)?
        .execute(params![id, text(new.as_ref())])
        .map(drop)
}

/// The text of the attributes after an edit; `None`: as it was.
fn new_attributes(before: &Head, edit: &Edit, version: Version, now: Timestamp) -> rusqlite::Result<Option<String>> {
    let unreadable = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
    match &edit.attributes {
        Some(new) => {
            // What is there and can't be read is about to be replaced.
            let old = attributes::decode(&before.attributes).unwrap_or_default();
            Ok(Some(attributes::encode(&stamped(&old, new, version, now))))
        }
        None if attributes::may_expire(&before.attributes) => {
            let old = attributes::decode(&before.attributes).map_err(unreadable)?;
            Ok(Some(attributes::encode(&stamped(&old, &old, version, now))))
        }
        None => Ok(None),
    }
}

/// New attributes with their versions: those that are as they were keep theirs, those that have expired are left out.
fn stamped(old: &AttributeMap, new: &AttributeMap, version: Version, now: Timestamp) -> AttributeMap {
    let live = new.iter().filter(|(_, attribute)| !attribute.is_expired(now));
    live.map(|(name, attribute)| {
        let mut attribute = attribute.clone();
        let unchanged = old.get(name).filter(|old| row::same(old, &attribute));
        attribute.version = unchanged.map_or(version, |old| old.version);
        (name.clone(), attribute)
    })
    .collect()
}

fn rotate(
    connection: &Connection,
    key: SessionKey,
    before: &Head,
    to: SessionKey,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) -> rusqlite::Result<Outcome> {
    let there = head(connection, &to)?;
    if there.as_ref().is_some_and(|head| head.is_live(now)) {
        return Ok(Err(Conflict::Exists));
    }
    let version = clear(connection, to, there, before.version, notices)?;
    connection
        .prepare_cached(
            "UPDATE session SET first_key = coalesce(first_key, key), key = ?2, version = ?3 WHERE id = ?1",
        )?
        .execute(params![before.id, to.as_bytes(), version.0.cast_signed()])?;
    // Nothing is under the old key now, and its version was given there.
    raise_floor(connection, before.version)?;
    notices.push(Notice::Moved {
        key,
        version: before.version,
        to,
    });
    notices.push(Notice::Changed { key: to, version });
    Ok(Ok(Changed::to(version)))
}

fn text(owner: Option<&OwnerText>) -> Option<&str> {
    owner.map(OwnerText::as_str)
}
