//! Why an action was not applied, and why the store could not do something else.

use std::{error::Error as StdError, fmt, sync::Arc};

use crate::CallError;

/// Why an action was not applied. State and history are as they were before it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A middleware rejected it.
    #[error("the action was rejected by {by}: {reason}")]
    Rejected {
        /// The middleware's [`name`](super::Middleware::name).
        by: &'static str,
        /// What it said.
        reason: Arc<dyn StdError + Send + Sync>,
    },
    /// The reducer panicked at it.
    #[error("the reducer panicked at the action")]
    ReducerPanicked,
    /// A middleware panicked at it.
    #[error("{by} panicked at the action")]
    MiddlewarePanicked {
        /// The middleware's [`name`](super::Middleware::name).
        by: &'static str,
    },
    /// There is no action of this name, or it may not come by name: see
    /// [`Setup::accept_by_name`](super::Setup::accept_by_name).
    #[error("there is no action `{name}`")]
    UnknownAction {
        /// The name that was asked for, cut to 100 bytes.
        name: String,
    },
    /// The action of this name is made from something else.
    #[error("that is no payload for action `{name}`")]
    BadPayload {
        /// The name of the action.
        name: String,
        /// What serde said. It may repeat parts of the payload.
        #[source]
        source: Arc<serde_json::Error>,
    },
}

impl Refused {
    /// A short stable word for the kind, for logs, metrics and the network.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::ReducerPanicked => "reducer_panicked",
            Self::MiddlewarePanicked { .. } => "middleware_panicked",
            Self::UnknownAction { .. } => "unknown_action",
            Self::BadPayload { .. } => "bad_payload",
        }
    }
}

/// Why a dispatch came to nothing.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError<A> {
    /// The session did not handle it. The action is in the error where nobody began to.
    #[error(transparent)]
    Call(CallError<A>),
    /// It was handled and not applied.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl<A> DispatchError<A> {
    /// The action, if nobody began to handle it.
    #[must_use]
    pub fn into_action(self) -> Option<A> {
        match self {
            Self::Call(error) => error.into_message(),
            Self::Refused(_) => None,
        }
    }

    /// A short stable word for the kind, for logs, metrics and the network.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind(),
            Self::Refused(refused) => refused.kind(),
        }
    }
}

// By hand: an action needn't be `Debug`, and may hold what no log should.
impl<A> fmt::Debug for DispatchError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => f.debug_tuple("Call").field(error).finish(),
            Self::Refused(refused) => f.debug_tuple("Refused").field(refused).finish(),
        }
    }
}

/// Why a store could not do what it was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session did not handle the message.
    #[error(transparent)]
    Call(#[from] CallError<()>),
    /// The history has no such position (any more).
    #[error("position {position} is not in the history, which goes from {first} to {last}")]
    OutOfRange {
        /// What was asked for.
        position: u64,
        /// The oldest position that is kept.
        first: u64,
        /// The newest.
        last: u64,
    },
    /// The reducer panicked while the history was applied again: it is not pure, or not the one that made it.
    #[error("the reducer panicked at the store's history")]
    ReducerPanicked,
    /// A selector panicked, or the `Clone` or `PartialEq` of what it selects.
    #[error("the selector panicked")]
    SelectorPanicked,
    /// As many subscriptions are open as may be.
    #[error("the store has {max} subscriptions, and more are not allowed")]
    TooManySubscriptions {
        /// The limit: [`Setup::max_subscriptions`](super::Setup::max_subscriptions).
        max: usize,
    },
    /// The state or an action can't be written as JSON.
    #[error("the store can't be written as JSON")]
    Unserializable(#[source] Arc<serde_json::Error>),
    /// That is no export of such a store: damaged, of another type, or of a newer version of this library.
    #[error("that is no export of this store")]
    BadExport(#[source] Arc<serde_json::Error>),
}

impl Error {
    /// A short stable word for the kind, for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind(),
            Self::OutOfRange { .. } => "out_of_range",
            Self::ReducerPanicked => "reducer_panicked",
            Self::SelectorPanicked => "selector_panicked",
            Self::TooManySubscriptions { .. } => "too_many_subscriptions",
            Self::Unserializable(_) => "unserializable",
            Self::BadExport(_) => "bad_export",
        }
    }
}
