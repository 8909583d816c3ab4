//! One change, applied to the table: whole or not at all.

use std::sync::Arc;

use super::{
    super::{
        Change, Changed, Conflict, Create, Edit, Expect, Notice, Op, Outcome, OwnerLimit, OwnerLimitPolicy, OwnerText,
        Record, Removed, SessionKey,
    },
    table::{Table, notice_of, removed},
};
use crate::Timestamp;

pub(super) fn apply(table: &mut Table, change: Change, now: Timestamp, notices: &mut Vec<Notice>) -> Outcome {
    let Change { key, expect, op } = change;
    match op {
        Op::Create(new) => create(table, key, *new, now, notices),
        Op::Edit(edit) => {
            // First: who lost the lock has nothing to read again and retry.
            if let Some(fence) = edit.fence.filter(|fence| !table.held.is_newest(*fence)) {
                return Err(Conflict::Fence { lock: fence.lock });
            }
            let before = expected(table, &key, expect, now)?;
            self::edit(table, &before, *edit, now, notices)
        }
        Op::Rotate(to) => {
            let before = expected(table, &key, expect, now)?;
            rotate(table, &before, to, now, notices)
        }
        Op::Delete => {
            let before = expected(table, &key, expect, now)?;
            remove(table, &key, notices);
            Ok(Changed::to(before.version))
        }
    }
}

/// The live record, if it is as expected.
fn expected(table: &Table, key: &SessionKey, expect: Expect, now: Timestamp) -> Result<Arc<Record>, Conflict> {
    let record = table.live(key, now).ok_or(Conflict::Missing)?;
    // The epoch first: who is no longer the owner has nothing to read again and retry.
    if expect.epoch.is_some_and(|epoch| epoch != record.epoch) {
        return Err(Conflict::Epoch { epoch: record.epoch });
    }
    if expect.version.is_some_and(|version| version != record.version) {
        return Err(Conflict::Version {
            version: record.version,
            record: Some(Box::new((**record).clone())),
        });
    }
    Ok(Arc::clone(record))
}

fn create(table: &mut Table, key: SessionKey, new: Create, now: Timestamp, notices: &mut Vec<Notice>) -> Outcome {
    if table.live(&key, now).is_some() {
        return Err(Conflict::Exists);
    }
    let evicted = make_room(table, new.user_id.as_ref(), new.limit, None, now, notices)?;
    // One that has expired may still lie under the key.
    remove(table, &key, notices);
    let version = table.next_version();
    table.insert(new.into_record(key, version, now));
    notices.push(Notice::Changed { key, version });
    Ok(Changed::to(version).with_evicted(evicted))
}

fn edit(table: &mut Table, before: &Arc<Record>, edit: Edit, now: Timestamp, notices: &mut Vec<Notice>) -> Outcome {
    let key = before.key;
    if edit.epoch.is_some_and(|epoch| epoch <= before.epoch) {
        return Err(Conflict::Epoch { epoch: before.epoch });
    }
    let moves_to = edit.user_id.as_ref().filter(|user| **user != before.user_id);
    let evicted = match moves_to {
        Some(user) => make_room(table, user.as_ref(), edit.limit, Some(&key), now, notices)?,
        None => Vec::new(),
    };
    let version = table.next_version();
    table.edit(&key, |record| edit.apply(record, version, now));
    notices.push(Notice::Changed { key, version });
    Ok(Changed::to(version).with_evicted(evicted))
}

fn rotate(
    table: &mut Table,
    before: &Arc<Record>,
    to: SessionKey,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) -> Outcome {
    if table.live(&to, now).is_some() {
        return Err(Conflict::Exists);
    }
    remove(table, &to, notices);
    let version = table.next_version();
    table.edit(&before.key, |record| {
        record.key = to;
        record.version = version;
    });
    notices.push(Notice::Moved {
        key: before.key,
        version: before.version,
        to,
    });
    notices.push(Notice::Changed { key: to, version });
    Ok(Changed::to(version))
}

fn remove(table: &mut Table, key: &SessionKey, notices: &mut Vec<Notice>) -> Option<Removed> {
    let removed = removed(&*table.remove(key)?);
    notices.push(notice_of(&removed));
    Some(removed)
}

/// Makes sure that `user` may have one more session, not counting `itself`.
fn make_room(
    table: &mut Table,
    user: Option<&OwnerText>,
    limit: Option<OwnerLimit>,
    itself: Option<&SessionKey>,
    now: Timestamp,
    notices: &mut Vec<Notice>,
) -> Result<Vec<Removed>, Conflict> {
    let (Some(user), Some(OwnerLimit { max, policy })) = (user, limit) else {
        return Ok(Vec::new());
    };
    let mut others: Vec<(Timestamp, SessionKey)> = table
        .of_user(user, now)
        .filter(|record| Some(&record.key) != itself)
        .map(|record| (record.accessed_at, record.key))
        .collect();
    let room = max.get() as usize - 1;
    let Some(too_many) = others.len().checked_sub(room).filter(|too_many| *too_many > 0) else {
        return Ok(Vec::new());
    };
    match policy {
        OwnerLimitPolicy::Reject => Err(Conflict::OwnerLimit { max }),
        OwnerLimitPolicy::EvictOldest => {
            others.sort_unstable();
            Ok(others[..too_many]
                .iter()
                .filter_map(|(_, key)| remove(table, key, notices))
                .collect())
        }
    }
}
