//! What a change comes to, by the record that it is judged by; or blindly, where the statement's `WHERE` is judge enough.

use session_process::{
    Timestamp,
    store::{Change, Conflict, Edit, Op, Outcome, Record, StoreError, Version},
};

use super::batch::{Batch, EditRow};
use crate::attributes;

/// Whether a change needs no look at its record: the statement itself finds out whether it may.
pub(super) fn is_blind(change: &Change) -> bool {
    match &change.op {
        Op::Create(_) | Op::Delete => true,
        // Which attributes keep their versions is seen by those that are there.
        Op::Edit(edit) => change.expect.version.is_some() && edit.attributes.is_none() && edit.epoch.is_none(),
        _ => false,
    }
}

/// Puts the change into the batch; or says what it came to.
pub(super) fn blindly(change: &Change, batch: &mut Batch, now: Timestamp) -> Result<(), StoreError> {
    match &change.op {
        Op::Create(new) => batch.create(change.key, new, now),
        Op::Delete => batch.delete(change.key, change.expect),
        Op::Edit(edit) => batch.edit(change.key, EditRow::blind(change.expect, edit)),
        _ => return Err(unknown()),
    }
    Ok(())
}

/// The same by the live record, `None` if there is none. An outcome: nothing was put into the batch.
pub(super) fn by_record(
    change: &Change,
    found: Option<&Record>,
    batch: &mut Batch,
    now: Timestamp,
) -> Result<Option<Outcome>, StoreError> {
    let record = match (&change.op, found) {
        (Op::Create(_), Some(_)) => return Ok(Some(Err(Conflict::Exists))),
        (Op::Create(new), None) => {
            batch.create(change.key, new, now);
            return Ok(None);
        }
        (_, None) => return Ok(Some(Err(Conflict::Missing))),
        (_, Some(record)) => record,
    };
    if let Some(conflict) = conflict(change, record) {
        return Ok(Some(Err(conflict)));
    }
    match &change.op {
        Op::Delete => batch.delete(change.key, change.expect),
        Op::Edit(edit) => {
            if edit.epoch.is_some_and(|epoch| epoch <= record.epoch) {
                return Ok(Some(Err(Conflict::Epoch { epoch: record.epoch })));
            }
            batch.edit(change.key, EditRow::of(record, edit, new_attributes(record, edit, now)));
        }
        _ => return Err(unknown()),
    }
    Ok(None)
}

pub(super) fn conflict(change: &Change, record: &Record) -> Option<Conflict> {
    let expect = change.expect;
    // The epoch first: who is no longer the owner has nothing to read again and retry.
    if expect.epoch.is_some_and(|epoch| epoch != record.epoch) {
        return Some(Conflict::Epoch { epoch: record.epoch });
    }
    if expect.version.is_some_and(|version| version != record.version) {
        return Some(Conflict::Version {
            version: record.version,
            record: Some(Box::new(record.clone())),
        });
    }
    None
}

/// The attributes after an edit; `None`: as they were.
fn new_attributes(record: &Record, edit: &Edit, now: Timestamp) -> Option<session_process::store::AttributeMap> {
    let version = Version(record.version.0 + 1);
    match &edit.attributes {
        Some(new) => Some(attributes::stamped(&record.attributes, new, version, now)),
        // Whatever may expire is written anew: it may expire between here and the database.
        None if attributes::first_end(&record.attributes) < Timestamp::MAX => Some(attributes::stamped(
            &record.attributes,
            &record.attributes,
            version,
            now,
        )),
        None => None,
    }
}

fn unknown() -> StoreError {
    StoreError::failed("commit", "an operation that this version of the store doesn't know")
}
