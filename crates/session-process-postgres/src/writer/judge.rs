//! What a change comes to, by the record that it is judged by; or blindly, where the statement's `WHERE` is judge enough.

use session_process::{
    Timestamp,
    store::{Attribute, Change, Conflict, Edit, Expect, Op, Outcome, Record, StoreError, Version},
};

use super::batch::{Batch, EditRow};
use crate::{attributes, recent::Known};

/// Changes of a session from one number of the sequence to the next.
const RANGE: u64 = 1 << 16;

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
        Op::Edit(edit) => batch.edit(change.key, EditRow::new(change.expect, edit, None)),
        _ => return Err(unknown()),
    }
    Ok(())
}

/// Whether what is known of a record is enough to judge the change, without a look at it: the statement finds out
/// whether that is still so.
pub(super) fn is_enough(change: &Change, known: &Known) -> bool {
    match &change.op {
        Op::Edit(edit) => {
            edit.attributes.is_some()
                && edit.epoch.is_none()
                && change.expect.version.is_none_or(|version| version == known.version)
        }
        _ => false,
    }
}

/// Puts an edit into the batch, by what is known.
pub(super) fn by_known(change: &Change, known: &Known, batch: &mut Batch, now: Timestamp) -> Result<(), StoreError> {
    let Op::Edit(edit) = &change.op else {
        return Err(unknown());
    };
    let new = edit.attributes.as_ref().map(|new| {
        let version = next(known.version);
        attributes::stamped(|name| known.get(name), new, version, now)
    });
    let expect = Expect {
        version: Some(known.version),
        ..change.expect
    };
    batch.edit(change.key, EditRow::new(expect, edit, new));
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
            let expect = Expect {
                version: Some(record.version),
                epoch: None,
            };
            batch.edit(
                change.key,
                EditRow::new(expect, edit, new_attributes(record, edit, now)),
            );
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
fn new_attributes(record: &Record, edit: &Edit, now: Timestamp) -> Option<attributes::Ordered> {
    let old = |name: &str| -> Option<&Attribute> { record.attributes.get(name) };
    let version = next(record.version);
    match &edit.attributes {
        Some(new) => Some(attributes::stamped(old, new, version, now)),
        // Whatever may expire is written anew: it may expire between here and the database.
        None if attributes::first_end(record.attributes.values()) < Timestamp::MAX => {
            Some(attributes::stamped(old, &record.attributes, version, now))
        }
        None => None,
    }
}

/// The version after this one, or 0 where only the database knows: there a new number is drawn, and `born` set to it.
fn next(version: Version) -> Version {
    let next = version.0 + 1;
    Version(if next.is_multiple_of(RANGE) { 0 } else { next })
}

/// Whether a change of what has this version draws a new number.
pub(super) fn draws_a_number(version: i64) -> bool {
    next(Version(version.cast_unsigned())).0 == 0
}

fn unknown() -> StoreError {
    StoreError::failed("commit", "an operation that this version of the store doesn't know")
}
