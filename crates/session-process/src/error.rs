//! The errors of the engine: one enum for a call, one for a cast, one for a start.
//!
//! A message that nobody began to handle comes back with its error: [`CallError::into_message`].

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::{EndReason, LoadError, SaveError, SessionId, store::StoreError};

/// The error that an [`Init`](crate::Init) returned, shared by all who waited for it.
pub type SharedError = Arc<dyn StdError + Send + Sync>;

/// Why a call has no reply.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CallError<M> {
    /// There is no such session: never started, ended, or expired.
    #[error("session {id} is not started")]
    NotStarted {
        /// The session.
        id: SessionId,
        /// The message, which nobody began to handle.
        message: M,
    },
    /// The session runs another type of process.
    #[error("session {id} runs {found}, not {expected}")]
    WrongProcess {
        /// The session.
        id: SessionId,
        /// The type that the caller addressed.
        expected: &'static str,
        /// The type that the session runs.
        found: &'static str,
        /// The message, which nobody began to handle.
        message: M,
    },
    /// As many messages wait for this session as may.
    #[error("the mailbox of session {id} is full ({capacity} messages wait)")]
    MailboxFull {
        /// The session.
        id: SessionId,
        /// How many may wait.
        capacity: usize,
        /// The message, which nobody began to handle.
        message: M,
    },
    /// No reply within the deadline, which covers waiting and handling.
    #[error("session {id} did not reply within {within:?}{}", begun(.message))]
    Timeout {
        /// The session.
        id: SessionId,
        /// The deadline.
        within: Duration,
        /// The message, if nobody began to handle it. `None`: it is being handled, and that goes on to its end.
        message: Option<M>,
    },
    /// A handler of this session panicked: the one for this message (then the message is gone), or the one before it.
    #[error("the process of session {id} panicked{}", begun(.message))]
    Crashed {
        /// The session.
        id: SessionId,
        /// The message, if it was still waiting when another one made the process panic.
        message: Option<M>,
    },
    /// The session ended while the message waited, or its handler was cut off.
    #[error("session {id} ended ({reason}){}", begun(.message))]
    Ended {
        /// The session.
        id: SessionId,
        /// Why it ended.
        reason: EndReason,
        /// The message, if nobody began to handle it.
        message: Option<M>,
    },
    /// The process was just starting, and its [`Init`](crate::Init) failed.
    #[error("session {id} could not be started")]
    InitFailed {
        /// The session.
        id: SessionId,
        /// What its `init` said; `None` if it panicked.
        #[source]
        source: Option<SharedError>,
        /// The message, which nobody began to handle.
        message: M,
    },
    /// The session sleeps in the store, or in that of an earlier program, and could not be brought back. It is open
    /// whether there is one.
    #[error("session {id} could not be loaded")]
    NotLoaded {
        /// The session.
        id: SessionId,
        /// Why.
        #[source]
        source: LoadError,
        /// The message, which nobody began to handle.
        message: M,
    },
    /// The message was handled, but what it changed is not durable. A write-through process is back at its last
    /// durable state; where the store failed half-way, it is open whether the change is part of that.
    #[error("session {id} handled the message, but its state was not saved")]
    NotSaved {
        /// The session.
        id: SessionId,
        /// Why.
        #[source]
        source: SaveError,
    },
    /// The process called itself, directly or through others: it would wait for its own turn for good.
    #[error("session {id} called itself and would wait for good")]
    SelfCall {
        /// The session.
        id: SessionId,
        /// The message, which nobody began to handle.
        message: M,
    },
    /// The handler put its reply off ([`Context::defer_reply`](crate::Context::defer_reply)) and then dropped it.
    #[error("session {id} dropped its deferred reply")]
    ReplyDropped {
        /// The session.
        id: SessionId,
    },
}

fn begun<M>(message: &Option<M>) -> &'static str {
    if message.is_some() {
        " before it came to this message"
    } else {
        " while it handled this message"
    }
}

impl<M> CallError<M> {
    /// The message, if nobody began to handle it: it may be sent again without being handled twice.
    #[must_use]
    pub fn into_message(self) -> Option<M> {
        match self {
            Self::NotStarted { message, .. }
            | Self::WrongProcess { message, .. }
            | Self::MailboxFull { message, .. }
            | Self::InitFailed { message, .. }
            | Self::NotLoaded { message, .. }
            | Self::SelfCall { message, .. } => Some(message),
            Self::Timeout { message, .. } | Self::Crashed { message, .. } | Self::Ended { message, .. } => message,
            Self::ReplyDropped { .. } | Self::NotSaved { .. } => None,
        }
    }

    /// The same error with something else in place of the message: `()`, or what the message was made from.
    #[must_use]
    pub fn map<N>(self, map: impl FnOnce(M) -> N) -> CallError<N> {
        match self {
            Self::NotStarted { id, message } => CallError::NotStarted {
                id,
                message: map(message),
            },
            Self::WrongProcess {
                id,
                expected,
                found,
                message,
            } => CallError::WrongProcess {
                id,
                expected,
                found,
                message: map(message),
            },
            Self::MailboxFull { id, capacity, message } => CallError::MailboxFull {
                id,
                capacity,
                message: map(message),
            },
            Self::Timeout { id, within, message } => CallError::Timeout {
                id,
                within,
                message: message.map(map),
            },
            Self::Crashed { id, message } => CallError::Crashed {
                id,
                message: message.map(map),
            },
            Self::Ended { id, reason, message } => CallError::Ended {
                id,
                reason,
                message: message.map(map),
            },
            Self::InitFailed { id, source, message } => CallError::InitFailed {
                id,
                source,
                message: map(message),
            },
            Self::SelfCall { id, message } => CallError::SelfCall {
                id,
                message: map(message),
            },
            Self::NotLoaded { id, source, message } => CallError::NotLoaded {
                id,
                source,
                message: map(message),
            },
            Self::NotSaved { id, source } => CallError::NotSaved { id, source },
            Self::ReplyDropped { id } => CallError::ReplyDropped { id },
        }
    }

    /// A short stable word for the kind, for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } => "not_started",
            Self::WrongProcess { .. } => "wrong_process",
            Self::MailboxFull { .. } => "mailbox_full",
            Self::Timeout { .. } => "timeout",
            Self::Crashed { .. } => "crashed",
            Self::Ended { .. } => "ended",
            Self::InitFailed { .. } => "init_failed",
            Self::SelfCall { .. } => "self_call",
            Self::NotLoaded { .. } => "not_loaded",
            Self::NotSaved { .. } => "not_saved",
            Self::ReplyDropped { .. } => "reply_dropped",
        }
    }
}

// By hand: the message needn't be `Debug`, and may hold what no log should.
impl<M> fmt::Debug for CallError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallError::{}({self})", self.kind())
    }
}

/// Why a cast was not delivered. The message comes back in each case.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CastError<M> {
    /// There is no such session: never started, ended, or expired.
    #[error("session {id} is not started")]
    NotStarted {
        /// The session.
        id: SessionId,
        /// The message.
        message: M,
    },
    /// It is, or may be, in the store, and can't take a message that nobody waits with: it falls asleep in this moment, or
    /// a limit or a shutdown keeps it from being woken. Send it again a little later, or [`call`](crate::Sessions::call).
    #[error("session {id} is not awake")]
    NotAwake {
        /// The session.
        id: SessionId,
        /// The message.
        message: M,
    },
    /// The session runs another type of process.
    #[error("session {id} runs {found}, not {expected}")]
    WrongProcess {
        /// The session.
        id: SessionId,
        /// The type that the sender addressed.
        expected: &'static str,
        /// The type that the session runs.
        found: &'static str,
        /// The message.
        message: M,
    },
    /// As many messages wait for this session as may.
    #[error("the mailbox of session {id} is full ({capacity} messages wait)")]
    MailboxFull {
        /// The session.
        id: SessionId,
        /// How many may wait.
        capacity: usize,
        /// The message.
        message: M,
    },
}

impl<M> CastError<M> {
    /// The message.
    #[must_use]
    pub fn into_message(self) -> M {
        match self {
            Self::NotStarted { message, .. }
            | Self::NotAwake { message, .. }
            | Self::WrongProcess { message, .. }
            | Self::MailboxFull { message, .. } => message,
        }
    }

    /// The same error with something else in place of the message.
    #[must_use]
    pub fn map<N>(self, map: impl FnOnce(M) -> N) -> CastError<N> {
        match self {
            Self::NotStarted { id, message } => CastError::NotStarted {
                id,
                message: map(message),
            },
            Self::NotAwake { id, message } => CastError::NotAwake {
                id,
                message: map(message),
            },
            Self::WrongProcess {
                id,
                expected,
                found,
                message,
            } => CastError::WrongProcess {
                id,
                expected,
                found,
                message: map(message),
            },
            Self::MailboxFull { id, capacity, message } => CastError::MailboxFull {
                id,
                capacity,
                message: map(message),
            },
        }
    }

    /// A short stable word for the kind, for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } => "not_started",
            Self::NotAwake { .. } => "not_awake",
            Self::WrongProcess { .. } => "wrong_process",
            Self::MailboxFull { .. } => "mailbox_full",
        }
    }
}

impl<M> fmt::Debug for CastError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CastError::{}({self})", self.kind())
    }
}

/// Why a session was not started.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// As many sessions live as may.
    #[error("session limit reached: {max} sessions are live")]
    SessionLimit {
        /// The limit: [`Builder::max_sessions`](crate::Builder::max_sessions).
        max: usize,
    },
    /// As many sessions were started in the last minute as may.
    #[error("rate limit reached: {per_minute} sessions were started within a minute; next in {retry_after:?}")]
    RateLimit {
        /// The limit: [`Builder::rate_limit`](crate::Builder::rate_limit).
        per_minute: u32,
        /// When the next start is allowed.
        retry_after: Duration,
    },
    /// As many sessions were started for this key as may.
    #[error("rate limit for this key reached: {per_minute} starts a minute; next in {retry_after:?}")]
    KeyRateLimit {
        /// The limit: [`Builder::rate_limit_per_key`](crate::Builder::rate_limit_per_key).
        per_minute: u32,
        /// When the next start is allowed for this key.
        retry_after: Duration,
    },
    /// The id is taken by a session of another type.
    #[error("session {id} runs {found}, not {expected}")]
    WrongProcess {
        /// The session.
        id: SessionId,
        /// The type that was to be started.
        expected: &'static str,
        /// The type that the session runs.
        found: &'static str,
    },
    /// The process's [`Init`](crate::Init) returned an error.
    #[error("session {id} could not be started")]
    InitFailed {
        /// The session.
        id: SessionId,
        /// What `init` said.
        #[source]
        source: SharedError,
    },
    /// The session has a record, or may have one, and could not be brought back from it; or the first state of a new
    /// one could not be saved.
    #[error("session {id} could not be brought back from the store")]
    NotLoaded {
        /// The session.
        id: SessionId,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The process's [`Init`](crate::Init) panicked.
    #[error("session {id} could not be started: its init panicked")]
    InitPanicked {
        /// The session.
        id: SessionId,
    },
    /// The process's [`Init`](crate::Init) still runs. It goes on; start again to wait for it.
    #[error("session {id} did not start within {within:?}")]
    Timeout {
        /// The session.
        id: SessionId,
        /// The deadline.
        within: Duration,
    },
    /// The session was ended before it had started.
    #[error("session {id} ended while it started ({reason})")]
    Ended {
        /// The session.
        id: SessionId,
        /// Why it ended.
        reason: EndReason,
    },
    /// The code that asks is a handler of that session, or of one that waits for it.
    #[error("session {id} would wait for itself to start")]
    SelfCall {
        /// The session.
        id: SessionId,
    },
    /// The engine shuts down.
    #[error("the engine shuts down and starts no sessions")]
    ShuttingDown,
}

impl StartError {
    /// A short stable word for the kind, for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SessionLimit { .. } => "session_limit",
            Self::RateLimit { .. } => "rate_limit",
            Self::KeyRateLimit { .. } => "key_rate_limit",
            Self::WrongProcess { .. } => "wrong_process",
            Self::InitFailed { .. } => "init_failed",
            Self::NotLoaded { .. } => "not_loaded",
            Self::InitPanicked { .. } => "init_panicked",
            Self::Timeout { .. } => "timeout",
            Self::Ended { .. } => "ended",
            Self::SelfCall { .. } => "self_call",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// There is no such session: never started, ended, or expired.
#[derive(Debug, Clone, thiserror::Error)]
#[error("session {id} is not started")]
pub struct NotStarted {
    /// The session.
    pub id: SessionId,
}

/// Why a session was not ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TerminateError {
    /// There is no such session: never started, ended, or expired.
    #[error("session {id} is not started")]
    NotStarted {
        /// The session.
        id: SessionId,
    },
    /// Its record could not be removed, so it lives on. Try again.
    #[error("session {id} could not be removed from the store")]
    Store {
        /// The session.
        id: SessionId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// Why a session's id was not changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// There is no such session.
    #[error("session {id} is not started")]
    NotStarted {
        /// The session.
        id: SessionId,
    },
    /// The new id is taken.
    #[error("session {to} is started already")]
    Taken {
        /// The new id.
        to: SessionId,
    },
    /// Its record could not be moved. Where the store failed half-way, it is open which id it has.
    #[error("session {id} could not be moved in the store")]
    Store {
        /// The session.
        id: SessionId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// Why the engine was not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no tokio runtime here to run the sweeper and waiting handlers on.
    #[error("no tokio runtime: build inside one, for example in `#[tokio::main]`")]
    NoRuntime,
    /// A limit or a time limit of zero, with which nothing could work.
    #[error("`{option}` is zero: {hint}")]
    Zero {
        /// The option.
        option: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// An option that has no effect without [`records`](crate::Builder::records).
    #[error("`{option}` needs `records`: without a store there is nothing to sleep in")]
    NoRecords {
        /// The option.
        option: &'static str,
    },
}
