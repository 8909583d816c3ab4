//! [`StoreError`]: a store that could not do what was asked.

use std::{error::Error as StdError, sync::Arc};

/// Why a store could not answer. Never the same as "there is no such session".
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It can't be reached, or is shutting down. Try again later.
    #[error("the session store is not available ({context})")]
    Unavailable {
        /// What was tried.
        context: &'static str,
        /// What came of it.
        #[source]
        source: Option<SharedError>,
    },
    /// It did not answer in time.
    #[error("the session store did not answer in time ({context})")]
    Timeout {
        /// What was tried.
        context: &'static str,
    },
    /// As much waits for it as may. Try again later.
    #[error("the session store has too much to do")]
    Overloaded,
    /// It failed at what was asked; the same again will probably fail again.
    #[error("the session store failed ({context})")]
    Failed {
        /// What was tried.
        context: &'static str,
        /// What came of it.
        #[source]
        source: SharedError,
    },
    /// What it keeps can't be understood: damaged, of another program, of a newer version of this one.
    #[error("the session store holds what can't be read: {what}")]
    Corrupt {
        /// What, and where to look. Never a session id.
        what: String,
    },
    /// A text that is no owner's name or label: see [`OwnerText`](super::OwnerText).
    #[error("a user, group or label has 1 to 255 bytes and no NUL; this one has {len} bytes")]
    InvalidOwner {
        /// Its length in bytes.
        len: usize,
    },
}

type SharedError = Arc<dyn StdError + Send + Sync>;

impl StoreError {
    /// It failed at `context`.
    pub fn failed(context: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed {
            context,
            source: Arc::from(source.into()),
        }
    }

    /// It can't be reached for `context`.
    pub fn unavailable(context: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Unavailable {
            context,
            source: Some(Arc::from(source.into())),
        }
    }

    /// Whether the same may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. } | Self::Overloaded)
    }

    /// A short stable word, for events and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout { .. } => "timeout",
            Self::Overloaded => "overloaded",
            Self::Failed { .. } => "failed",
            Self::Corrupt { .. } => "corrupt",
            Self::InvalidOwner { .. } => "invalid_owner",
        }
    }
}
