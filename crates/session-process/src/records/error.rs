//! What comes back when something is not as asked: [`RecordError`], [`UpdateError`].

use std::num::NonZeroU32;

use crate::{
    AttributeError,
    store::{Conflict, StoreError, Version},
};

/// Why a session was not created, changed or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There is no such session: it was never made, has expired, or was deleted.
    #[error("there is no such session")]
    Missing,
    /// There is a session with the id that was to be new.
    #[error("there is a session with this id already")]
    Exists,
    /// The user has as many sessions as may be.
    #[error("the user has {max} sessions, and more are not allowed")]
    OwnerLimit {
        /// The limit.
        max: NonZeroU32,
    },
    /// Others changed the session each time. Nothing was changed.
    #[error("others changed the session {attempts} times meanwhile")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// An attribute that may not be.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// The store could not do it. Never the same as [`Missing`](Self::Missing).
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RecordError {
    pub(super) fn from_conflict(conflict: Conflict, attempts: u32) -> Self {
        match conflict {
            Conflict::Missing => Self::Missing,
            Conflict::Exists => Self::Exists,
            Conflict::OwnerLimit { max } => Self::OwnerLimit { max },
            // Nothing that answers with this error is done under a lock.
            Conflict::Version { .. } | Conflict::Epoch { .. } | Conflict::Fence { .. } => Self::Contended { attempts },
        }
    }

    /// A short stable word, for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Exists => "exists",
            Self::OwnerLimit { .. } => "owner_limit",
            Self::Contended { .. } => "contended",
            Self::Attribute(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}

/// Why an update was not done. The session is as if it had never been asked for; only after
/// [`Store`](Self::Store) it is open whether the store did it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The closure said no.
    #[error(transparent)]
    Refused(E),
    /// The session doesn't have the version that was asked for.
    #[error("the session was changed meanwhile")]
    Changed {
        /// The version that it has.
        version: Version,
    },
    /// There is no such session: it was never made, has expired, or was deleted.
    #[error("there is no such session")]
    Missing,
    /// Others changed the session each time.
    #[error("others changed the session {attempts} times meanwhile")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// The lock under which it was to be done has been lost: somebody else has it, or it was given up.
    #[error("the lock under which the session was to be changed has been lost")]
    LockLost,
    /// The closure left an attribute that may not be.
    #[error("the attributes break a limit")]
    Attribute(#[source] AttributeError),
    /// The store could not do it. Never the same as [`Missing`](Self::Missing).
    #[error("the session could not be saved")]
    Store(#[source] StoreError),
}
