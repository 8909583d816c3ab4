//! [`Kept`]: where a durable session is kept. Writes, rotation and deletion exclude each other here.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::Known;
use crate::{
    EndReason, SaveError, SessionId,
    records::SessionRecords,
    store::{Change, Conflict, Edit, Expect, Op, SessionKey, Snapshot, StoreError, Version},
};

/// How often a write is repeated because others change the record, but not the snapshot.
const ATTEMPTS: usize = 16;

/// Where a durable session is kept.
pub(crate) struct Kept {
    pub(in crate::engine) records: SessionRecords,
    pub(in crate::engine) place: AsyncMutex<Place>,
    /// This engine itself is deleting it, or giving it another id.
    busy: AtomicBool,
    /// It was told that the record is gone, or has another key: there is nothing to write or to delete, and what is under
    /// its key by now is another's.
    removed: AtomicBool,
    /// The key under which the record was created; `None` until it was read or written.
    first_key: Mutex<Option<SessionKey>>,
    write: Mutex<Write>,
    /// Its process may be behind its record, and is to look at it: once, however many say so.
    look_wanted: AtomicBool,
}

/// A write by the session's own task. What is heard of the record meanwhile is most probably this, and is looked at when it
/// is done: once, and by that task.
#[derive(Default)]
struct Write {
    under_way: bool,
    /// The version that came of it.
    written: Option<Version>,
    heard: Option<Version>,
}

/// Who writes.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// A task that nobody but the runtime drops.
    Task,
    /// One who may be dropped, and must not take the change back half-way.
    Turn,
}

/// Why a process ends whose record is not under its key any more, where nobody has said why: by where the session is now;
/// `None`: that is not known.
pub(in crate::engine) fn why_absent(found: Option<Option<SessionKey>>) -> EndReason {
    match found {
        Some(None) => EndReason::Terminated,
        // It goes on elsewhere, or may.
        Some(Some(_)) | None => EndReason::Asleep,
    }
}

/// Says so while it lives: a caller that goes away must not leave its session busy for good, as that hears of no end.
struct Busy<'a>(&'a AtomicBool);

impl<'a> Busy<'a> {
    fn new(busy: &'a AtomicBool) -> Self {
        busy.store(true, Ordering::Release);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

pub(in crate::engine) struct Place {
    pub(in crate::engine) key: SessionKey,
    pub(in crate::engine) version: Version,
    /// The record is deleted: nothing is written any more.
    pub(in crate::engine) gone: bool,
}

impl Place {
    /// Somebody else has changed the record, to this version.
    pub(super) fn is_behind(&self, version: Version) -> bool {
        !self.gone && self.version < version
    }
}

impl Kept {
    pub(in crate::engine) fn new(records: &SessionRecords, id: &SessionId) -> Arc<Self> {
        Arc::new(Self {
            records: records.clone(),
            place: AsyncMutex::new(Place {
                key: SessionKey::of(id),
                version: Version::default(),
                gone: false,
            }),
            busy: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            first_key: Mutex::new(None),
            write: Mutex::default(),
            look_wanted: AtomicBool::new(false),
        })
    }

    /// Writes a snapshot in place of what is known.
    pub(super) async fn save(&self, snapshot: &Snapshot, known: &Known, by: By) -> Result<(), SaveError> {
        let mut place = self.place.lock().await;
        for _ in 0..ATTEMPTS {
            if self.is_gone(&place) {
                return Err(SaveError::Gone);
            }
            let edit = Edit {
                snapshot: Some(Some(snapshot.clone())),
                ..Edit::default()
            };
            let outcome = self.commit(&place, Op::Edit(Box::new(edit)), by).await?;
            let (version, record) = match outcome {
                Ok(version) => {
                    place.version = version;
                    if let By::Task = by {
                        self.write.lock().written = Some(version);
                    }
                    return Ok(());
                }
                Err(Conflict::Version { version, record }) => (version, record),
                Err(Conflict::Epoch { .. }) => return Err(SaveError::Conflict),
                Err(_) => {
                    place.gone = true;
                    return Err(SaveError::Gone);
                }
            };
            let record = match record {
                Some(record) if record.version == version => Some(*record),
                _ => self.records.record(place.key).await.map_err(SaveError::Store)?,
            };
            let Some(record) = record else {
                place.gone = true;
                return Err(SaveError::Gone);
            };
            if !known.explains(record.snapshot.as_ref()) {
                return Err(SaveError::Conflict);
            }
            place.version = record.version;
        }
        Err(SaveError::Conflict)
    }

    pub(super) async fn commit(&self, place: &Place, op: Op, by: By) -> Result<Result<Version, Conflict>, SaveError> {
        let change = Change {
            key: place.key,
            expect: Expect {
                version: Some(place.version),
                epoch: None,
            },
            op,
        };
        let outcome = match by {
            // In a box: it is large, and the end of every session, durable or not, would carry room for it about.
            By::Task => Box::pin(self.records.commit_here(change)).await,
            By::Turn => self.records.commit(change).await,
        };
        outcome.map_err(SaveError::Store)
    }

    /// A write by the session's own task begins.
    pub(super) fn writes(&self) {
        self.write.lock().under_way = true;
    }

    /// It is over. If somebody else has changed the record meanwhile, that is to be looked at.
    pub(super) fn write_is_over(&self) {
        let Write { written, heard, .. } = std::mem::take(&mut *self.write.lock());
        if heard > written {
            self.want_look();
        }
    }

    /// Has the session look at its record when it next can. False: it was to do so already.
    pub(super) fn want_look(&self) -> bool {
        !self.look_wanted.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_look_wanted(&self) -> bool {
        self.look_wanted.load(Ordering::Acquire)
    }

    /// It looks from now on: who says so after this has it look again. False: it need not.
    pub(super) fn take_look(&self) -> bool {
        self.look_wanted.swap(false, Ordering::AcqRel)
    }

    /// The record has this version: whether that is looked at by a write that is under way.
    pub(super) fn leaves_to_write(&self, version: Version) -> bool {
        let mut write = self.write.lock();
        if write.under_way {
            write.heard = write.heard.max(Some(version));
        }
        write.under_way
    }

    /// Removes the record. From then on nothing is written, and nothing can bring it back.
    pub(crate) async fn delete(&self) -> Result<(), StoreError> {
        let mut place = self.place.lock().await;
        if self.is_gone(&place) {
            return Ok(());
        }
        let change = Change {
            key: place.key,
            expect: Expect::default(),
            op: Op::Delete,
        };
        let busy = Busy::new(&self.busy);
        let outcome = self.records.commit(change).await;
        drop(busy);
        // `Missing`: it is gone already.
        let _ = outcome?;
        place.gone = true;
        Ok(())
    }

    pub(in crate::engine) fn first_key(&self) -> Option<SessionKey> {
        *self.first_key.lock()
    }

    /// The record was read or written, and began under this key.
    pub(super) fn began(&self, first_key: SessionKey) {
        *self.first_key.lock() = Some(first_key);
    }

    /// Where the session is that is not under its key any more; `None`: it is over. An error: that is not known.
    pub(in crate::engine) async fn locate(&self) -> Result<Option<SessionKey>, StoreError> {
        let Some(first_key) = self.first_key() else {
            return Err(StoreError::failed("locate", "there is no record of it yet"));
        };
        self.records.locate(&[first_key]).await.map(|found| found[0])
    }

    /// Why this process ends, whose record is not under its key any more, and nobody has said why.
    pub(in crate::engine) async fn why_absent(&self) -> EndReason {
        why_absent(self.locate().await.ok())
    }

    fn is_gone(&self, place: &Place) -> bool {
        place.gone || self.removed.load(Ordering::Acquire)
    }

    /// The store has told that there is no record under this key any more.
    pub(in crate::engine) fn is_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    pub(in crate::engine) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// It has been moved to this key, is still there, and `known` by that; and the store says that there is no record.
    pub(in crate::engine) async fn has_lost(&self, key: SessionKey, known: impl FnOnce()) -> bool {
        // No rotation of our own comes in between.
        let place = self.place.lock().await;
        if place.key != key {
            return false;
        }
        known();
        !self.is_gone(&place) && matches!(self.records.is_there(key).await, Ok(false))
    }

    /// Moves the record to another id's key. `None`: another rotation was first, and it is not under `from` any more.
    /// `moved` is called when it has, while whoever hears that there is nothing under the old key still leaves us alone.
    pub(in crate::engine) async fn rotate(
        &self,
        from: &SessionId,
        to: &SessionId,
        moved: impl FnOnce(),
    ) -> Result<Option<Result<(), Conflict>>, StoreError> {
        let mut place = self.place.lock().await;
        if place.key != SessionKey::of(from) {
            return Ok(None);
        }
        let to = SessionKey::of(to);
        let change = Change {
            key: place.key,
            expect: Expect::default(),
            op: Op::Rotate(to),
        };
        let busy = Busy::new(&self.busy);
        let outcome = match self.records.commit(change).await {
            // Perhaps it took effect and only the answer is missing.
            Err(error) if error.is_transient() => self.has_moved(place.key, to).await.map(Ok).ok_or(error),
            outcome => outcome,
        };
        let outcome = outcome?.map(|version| {
            (place.key, place.version) = (to, version);
            moved();
        });
        drop(busy);
        Ok(Some(outcome))
    }

    /// The version under the new key, if the record has left the old one for it.
    async fn has_moved(&self, from: SessionKey, to: SessionKey) -> Option<Version> {
        let old = self.records.record(from).await.ok()?;
        let new = self.records.record(to).await.ok()??;
        old.is_none().then_some(new.version)
    }
}
