//! [`Change`]: what is asked of a store, and what became of it.

use std::num::NonZeroU32;

use super::{AttributeMap, Epoch, Fence, Lifetime, LockKey, OwnerText, Record, SessionKey, Snapshot, Version};
use crate::Timestamp;

/// One change to one record.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which record.
    pub key: SessionKey,
    /// What it must be like for the change to take effect.
    pub expect: Expect,
    /// What is to be done.
    pub op: Op,
}

/// What a record must be like for a [`Change`] to take effect. For [`Op::Create`], nothing is expected but that there
/// is no live record under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expect {
    /// Exactly this version. `None`: any, so the last writer wins.
    pub version: Option<Version>,
    /// This epoch. `None`: any.
    pub epoch: Option<Epoch>,
}

/// What a [`Change`] does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Op {
    /// Makes a record.
    Create(Box<Create>),
    /// Changes parts of a record.
    Edit(Box<Edit>),
    /// Moves a record to another key in one step, because the id of its session was changed. `Conflict::Exists` if that
    /// key is taken, also if by the record itself. The old key is reported as deleted and the new one as changed.
    Rotate(SessionKey),
    /// Removes a record.
    Delete,
}

/// A new record.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// Whose session it is.
    pub user_id: Option<OwnerText>,
    /// What group it belongs to.
    pub group_id: Option<OwnerText>,
    /// How its user tells it from others.
    pub label: Option<OwnerText>,
    /// How long it may live.
    pub lifetime: Lifetime,
    /// Its attributes. Their versions are set by the store.
    pub attributes: AttributeMap,
    /// The state of its process.
    pub snapshot: Option<Snapshot>,
    /// How many sessions its user may have, this one among them. Without a `user_id` it says nothing.
    pub limit: Option<OwnerLimit>,
}

/// New values for parts of a record; `None`: as it was.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Another user, or none.
    pub user_id: Option<Option<OwnerText>>,
    /// Another group, or none.
    pub group_id: Option<Option<OwnerText>>,
    /// Another label, or none.
    pub label: Option<Option<OwnerText>>,
    /// Other time limits.
    pub lifetime: Option<Lifetime>,
    /// All attributes, in place of those that were there. Versions of those whose value or expiry differs are set by
    /// the store; the others keep theirs.
    pub attributes: Option<AttributeMap>,
    /// The state of the process, or none.
    pub snapshot: Option<Option<Snapshot>>,
    /// A greater epoch: another owner in the cluster. [`Conflict::Epoch`] if it is not greater.
    pub epoch: Option<Epoch>,
    /// An access at this time. Never moves the last access backward.
    pub accessed_at: Option<Timestamp>,
    /// How many sessions the new user may have, this one among them, where `user_id` changes.
    pub limit: Option<OwnerLimit>,
    /// The lock under which this is done: [`Conflict::Fence`] if its token is not the newest. A store that has no locks
    /// (see [`LockStore`](super::LockStore)) fails: it never does under a fence what it can't see to.
    pub fence: Option<Fence>,
}

/// How many sessions a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerLimit {
    /// So many at the most.
    pub max: NonZeroU32,
    /// What happens to one more.
    pub policy: OwnerLimitPolicy,
}

/// What happens when a user would have one session too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnerLimitPolicy {
    /// The new one is refused.
    Reject,
    /// Those whose last access is longest ago are removed.
    EvictOldest,
}

/// What became of a [`Change`].
pub type Outcome = Result<Changed, Conflict>;

/// A change took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The version of the record after it; of one that was deleted, its last.
    pub version: Version,
    /// Sessions that made room: see [`OwnerLimitPolicy::EvictOldest`].
    pub evicted: Vec<Removed>,
}

impl Changed {
    /// Nobody had to make room.
    #[must_use]
    pub fn to(version: Version) -> Self {
        Self {
            version,
            evicted: Vec::new(),
        }
    }

    /// The same, with those that made room.
    #[must_use]
    pub fn with_evicted(mut self, evicted: Vec<Removed>) -> Self {
        self.evicted = evicted;
        self
    }
}

/// Why a change took no effect. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// There is no live record under the key.
    #[error("there is no such session")]
    Missing,
    /// There is a live record under the key that was to be new.
    #[error("there is such a session already")]
    Exists,
    /// Somebody changed it meanwhile. As it is now, if the store has it at hand.
    #[error("the session was changed meanwhile")]
    Version {
        /// The version that it has.
        version: Version,
        /// The record.
        record: Option<Box<Record>>,
    },
    /// Another node owns the session by now.
    #[error("the session has another owner")]
    Epoch {
        /// The epoch that it has.
        epoch: Epoch,
    },
    /// The user has as many sessions as may be.
    #[error("the user has {max} sessions, and more are not allowed")]
    OwnerLimit {
        /// The limit.
        max: NonZeroU32,
    },
    /// The lock under which this was to be done has been lost: somebody else has it, or it was given up.
    #[error("the lock under which the session was to be changed has been lost")]
    Fence {
        /// Which lock.
        lock: LockKey,
    },
}

/// An access to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    /// Which session.
    pub key: SessionKey,
    /// When, by the store's clock.
    pub accessed_at: Timestamp,
}

/// A record that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Under which key it was.
    pub key: SessionKey,
    /// Its last version.
    pub version: Version,
    /// Whose it was.
    pub user_id: Option<OwnerText>,
}

impl Removed {
    /// A record that is no more.
    #[must_use]
    pub fn new(key: SessionKey, version: Version, user_id: Option<OwnerText>) -> Self {
        Self { key, version, user_id }
    }
}

/// What changed in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A record was created or changed.
    Changed {
        /// Under which key.
        key: SessionKey,
        /// Its version now.
        version: Version,
    },
    /// A record was deleted, or removed because its time was over.
    Removed {
        /// Under which key.
        key: SessionKey,
        /// Its last version.
        version: Version,
    },
    /// A record was moved to another key: there is none under this one any more.
    Moved {
        /// Under which key it was.
        key: SessionKey,
        /// Its last version under that.
        version: Version,
        /// Under which it is. That it was changed there is told as well.
        to: SessionKey,
    },
    /// Notices were lost: any record may have changed.
    Lagged,
    /// From now on, what others do is not heard of: until [`Hearing`](Self::Hearing), nothing that is kept may be used
    /// without asking the store.
    Deaf,
    /// What others do is heard of again. Any record may have changed meanwhile.
    Hearing,
}
