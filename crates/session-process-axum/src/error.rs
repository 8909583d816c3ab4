//! [`Error`]: what can go wrong with a session in a request, as a response.

use std::{num::NonZeroU32, time::Duration};

use axum_core::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use session_process::{
    CallError, CastError, EndReason, LoadError, NotStarted, RotateError, SaveError, SessionId, SharedError, StartError,
    TerminateError, records::RecordError, store::StoreError,
};

/// When to come back, where the engine can't tell.
const SOON: Duration = Duration::from_secs(1);

/// Why a request got no answer from its session.
///
/// A handler that returns `Result<_, Error>` can put `?` behind every call of [`Session`](crate::Session) and of
/// [`Sessions`](session_process::Sessions). The statuses are in the [crate's table](crate#errors); the body is a short
/// text without any id. A message that was not handled is dropped; [`Sessions::call`](session_process::Sessions::call)
/// gives it back.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such session: never started, ended, or expired.
    #[error("session {id} is not started")]
    NotStarted {
        /// The session.
        id: SessionId,
    },
    /// The session falls asleep in this moment, or can't be woken now; and a cast doesn't wait.
    #[error("session {id} is not awake")]
    NotAwake {
        /// The session.
        id: SessionId,
    },
    /// The session ended before it came to the message, or while it started.
    #[error("session {id} ended ({reason})")]
    Ended {
        /// The session.
        id: SessionId,
        /// Why it ended.
        reason: EndReason,
    },
    /// As many messages wait for this session as may.
    #[error("the mailbox of session {id} is full ({capacity} messages wait)")]
    MailboxFull {
        /// The session.
        id: SessionId,
        /// How many may wait.
        capacity: usize,
    },
    /// No reply within the deadline.
    #[error("session {id} did not reply within {within:?}")]
    Timeout {
        /// The session.
        id: SessionId,
        /// The deadline.
        within: Duration,
    },
    /// A handler of the session panicked.
    #[error("the process of session {id} panicked")]
    Crashed {
        /// The session.
        id: SessionId,
    },
    /// The process could not begin.
    #[error("session {id} could not be started")]
    InitFailed {
        /// The session.
        id: SessionId,
        /// What its `init` said; `None` if it panicked.
        #[source]
        source: Option<SharedError>,
    },
    /// The store could not be asked. It is open whether there is a session: never the same as
    /// [`NotStarted`](Self::NotStarted).
    #[error("the store could not be asked for the session")]
    Store {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The session is in the store, and could not be brought back: its state can't be read. It is kept.
    #[error("session {id} could not be brought back from the store")]
    NotLoaded {
        /// The session.
        id: SessionId,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The session handled the message, but what that changed is not durable.
    #[error("the state of session {id} was not saved")]
    NotSaved {
        /// The session.
        id: SessionId,
        /// Why.
        #[source]
        source: SaveError,
    },
    /// The session runs another type of process.
    #[error("session {id} runs {found}, not {expected}")]
    WrongProcess {
        /// The session.
        id: SessionId,
        /// The type that the handler asked for.
        expected: &'static str,
        /// The type that the session runs.
        found: &'static str,
    },
    /// The process called itself.
    #[error("session {id} called itself and would wait for good")]
    SelfCall {
        /// The session.
        id: SessionId,
    },
    /// The process put its reply off and then dropped it.
    #[error("session {id} dropped its deferred reply")]
    ReplyDropped {
        /// The session.
        id: SessionId,
    },
    /// As many sessions live as may.
    #[error("session limit reached: {max} sessions are live")]
    SessionLimit {
        /// The limit.
        max: usize,
    },
    /// As many sessions were started in the last minute as may.
    #[error("rate limit reached: {per_minute} sessions were started within a minute; next in {retry_after:?}")]
    RateLimit {
        /// The limit.
        per_minute: u32,
        /// When the next start is allowed.
        retry_after: Duration,
    },
    /// As many sessions were started for this key, such as an address, as may.
    #[error("rate limit for this key reached: {per_minute} starts a minute; next in {retry_after:?}")]
    KeyRateLimit {
        /// The limit.
        per_minute: u32,
        /// When the next start is allowed for this key.
        retry_after: Duration,
    },
    /// The engine shuts down.
    #[error("the engine shuts down and starts no sessions")]
    ShuttingDown,
    /// A session was to be started or rotated when the response had left: there is no telling the browser its id.
    /// Do it before the handler returns, not in a task or a stream that goes on afterwards.
    #[error("the response has left, so the browser can't be told of another session id")]
    ResponseSent,
    /// The request has no session, and needs one.
    #[error("the request has no session")]
    NoSession,
    /// Who sends this request has presented too many ids without a session: see [`GuessLimit`](crate::GuessLimit). The
    /// id that it presents was not looked up.
    #[error("too many unknown session ids from here; again in {retry_after:?}")]
    TooManyGuesses {
        /// When an id from here is looked up again.
        retry_after: Duration,
    },
    /// The session's user has not proved lately who they are: see
    /// [`require_recent_auth`](crate::Session::require_recent_auth).
    #[error("session {id} was authenticated more than {within:?} ago, or never")]
    AuthenticationTooOld {
        /// The session.
        id: SessionId,
        /// How long ago is recent.
        within: Duration,
    },
    /// The user has as many sessions as may be: of [`SessionRecords`](session_process::records::SessionRecords).
    #[error("the user has {max} sessions, and more are not allowed")]
    OwnerLimit {
        /// The limit.
        max: NonZeroU32,
    },
    /// Others changed the session's record each time it was tried. Nothing was changed.
    #[error("others changed the session's record meanwhile")]
    Contended,
    /// An error of the engine that this version doesn't know.
    #[error("session error: {kind}")]
    Other {
        /// Its kind, such as [`CallError::kind`].
        kind: &'static str,
    },
}

impl Error {
    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Ended {
                reason: EndReason::Shutdown,
                ..
            } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotStarted { .. }
            | Self::NoSession
            | Self::Ended { .. }
            | Self::NotSaved {
                source: SaveError::Gone,
                ..
            } => StatusCode::UNAUTHORIZED,
            // Nothing to do with the store's health: the application gave a text that is no owner.
            Self::Store {
                source: StoreError::InvalidOwner { .. },
            } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Store { .. }
            | Self::NotLoaded {
                source: LoadError::Store(_),
                ..
            }
            | Self::NotSaved {
                source: SaveError::Store(_),
                ..
            } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotSaved {
                source: SaveError::Conflict,
                ..
            }
            | Self::Contended => StatusCode::CONFLICT,
            Self::AuthenticationTooOld { .. } | Self::OwnerLimit { .. } => StatusCode::FORBIDDEN,
            Self::KeyRateLimit { .. } | Self::TooManyGuesses { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NotAwake { .. }
            | Self::MailboxFull { .. }
            | Self::SessionLimit { .. }
            | Self::RateLimit { .. }
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Crashed { .. }
            | Self::InitFailed { .. }
            | Self::NotLoaded { .. }
            | Self::NotSaved { .. }
            | Self::WrongProcess { .. }
            | Self::SelfCall { .. }
            | Self::ReplyDropped { .. }
            | Self::ResponseSent
            | Self::Other { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When it makes sense to try again, where it does: the `Retry-After` of the response.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimit { retry_after, .. }
            | Self::KeyRateLimit { retry_after, .. }
            | Self::TooManyGuesses { retry_after } => Some(*retry_after),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(SOON),
            _ => None,
        }
    }

    /// The body of the response. It says nothing of the inside: no id, no type.
    #[must_use]
    pub fn body_text(&self) -> &'static str {
        match self {
            Self::NotStarted { .. } | Self::NoSession => "no session",
            Self::TooManyGuesses { .. } => "too many unknown sessions",
            Self::AuthenticationTooOld { .. } => "sign in again",
            Self::Ended { .. } => "the session has ended",
            Self::NotSaved {
                source: SaveError::Gone,
                ..
            } => "the session has ended",
            Self::NotSaved {
                source: SaveError::Conflict,
                ..
            }
            | Self::Contended => "the session was changed elsewhere: repeat",
            Self::OwnerLimit { .. } => "too many sessions of this user",
            Self::Store { .. } | Self::NotLoaded { .. } | Self::NotSaved { .. }
                if self.status() == StatusCode::SERVICE_UNAVAILABLE =>
            {
                "sessions are not available just now"
            }
            Self::MailboxFull { .. } => "too many requests wait for this session",
            Self::NotAwake { .. } => "the session is not available just now",
            Self::Timeout { .. } => "the session did not answer in time",
            Self::SessionLimit { .. } | Self::RateLimit { .. } => "too many sessions",
            Self::KeyRateLimit { .. } => "too many new sessions",
            Self::ShuttingDown => "the server is shutting down",
            _ => "internal error",
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let source = std::error::Error::source(&self).map(tracing::field::display);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self, source, "session failed");
        } else if status != StatusCode::CONFLICT
            && matches!(
                self,
                Self::Store { .. } | Self::NotLoaded { .. } | Self::NotSaved { .. }
            )
        {
            // Somebody has to see to the store.
            tracing::warn!(error = %self, source, status = status.as_u16(), "session store failed");
        } else {
            tracing::debug!(error = %self, status = status.as_u16(), "session not available");
        }
        let mut response = (status, self.body_text()).into_response();
        if let Some(after) = self.retry_after() {
            // Rounded up: who comes back early is turned away again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

impl<M> From<CallError<M>> for Error {
    fn from(error: CallError<M>) -> Self {
        let kind = error.kind();
        match error {
            CallError::NotStarted { id, .. } => Self::NotStarted { id },
            CallError::WrongProcess {
                id, expected, found, ..
            } => Self::WrongProcess { id, expected, found },
            CallError::MailboxFull { id, capacity, .. } => Self::MailboxFull { id, capacity },
            CallError::Timeout { id, within, .. } => Self::Timeout { id, within },
            CallError::Crashed { id, .. } => Self::Crashed { id },
            CallError::Ended { id, reason, .. } => Self::Ended { id, reason },
            CallError::InitFailed { id, source, .. } => {
                // A session that could not be woken: the limits and the shutdown are not its own.
                let start = source.as_deref().and_then(|source| source.downcast_ref::<StartError>());
                match start {
                    Some(start) => start.clone().into(),
                    None => Self::InitFailed { id, source },
                }
            }
            CallError::NotLoaded { id, source, .. } => Self::not_loaded(id, source),
            CallError::NotSaved { id, source } => Self::NotSaved { id, source },
            CallError::SelfCall { id, .. } => Self::SelfCall { id },
            CallError::ReplyDropped { id } => Self::ReplyDropped { id },
            _ => Self::Other { kind },
        }
    }
}

impl<M> From<CastError<M>> for Error {
    fn from(error: CastError<M>) -> Self {
        let kind = error.kind();
        match error {
            CastError::NotStarted { id, .. } => Self::NotStarted { id },
            CastError::NotAwake { id, .. } => Self::NotAwake { id },
            CastError::WrongProcess {
                id, expected, found, ..
            } => Self::WrongProcess { id, expected, found },
            CastError::MailboxFull { id, capacity, .. } => Self::MailboxFull { id, capacity },
            _ => Self::Other { kind },
        }
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        let kind = error.kind();
        match error {
            StartError::SessionLimit { max } => Self::SessionLimit { max },
            StartError::RateLimit {
                per_minute,
                retry_after,
            } => Self::RateLimit {
                per_minute,
                retry_after,
            },
            StartError::KeyRateLimit {
                per_minute,
                retry_after,
            } => Self::KeyRateLimit {
                per_minute,
                retry_after,
            },
            StartError::WrongProcess { id, expected, found } => Self::WrongProcess { id, expected, found },
            StartError::InitFailed { id, source } => Self::InitFailed {
                id,
                source: Some(source),
            },
            StartError::NotLoaded { id, source } => Self::not_loaded(id, source),
            StartError::InitPanicked { id } => Self::InitFailed { id, source: None },
            StartError::Timeout { id, within } => Self::Timeout { id, within },
            StartError::Ended { id, reason } => Self::Ended { id, reason },
            StartError::SelfCall { id } => Self::SelfCall { id },
            StartError::ShuttingDown => Self::ShuttingDown,
            _ => Self::Other { kind },
        }
    }
}

impl From<NotStarted> for Error {
    fn from(NotStarted { id }: NotStarted) -> Self {
        Self::NotStarted { id }
    }
}

impl From<RotateError> for Error {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::NotStarted { id } => Self::NotStarted { id },
            RotateError::Store { source, .. } => Self::Store { source },
            RotateError::Taken { .. } => Self::Other { kind: "id_taken" },
            _ => Self::Other { kind: "rotate" },
        }
    }
}

impl From<TerminateError> for Error {
    fn from(error: TerminateError) -> Self {
        match error {
            TerminateError::NotStarted { id } => Self::NotStarted { id },
            TerminateError::Store { source, .. } => Self::Store { source },
            _ => Self::Other { kind: "terminate" },
        }
    }
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Missing => Self::NoSession,
            RecordError::Store(source) => Self::Store { source },
            RecordError::OwnerLimit { max } => Self::OwnerLimit { max },
            RecordError::Contended { .. } => Self::Contended,
            error => Self::Other { kind: error.kind() },
        }
    }
}

impl From<StoreError> for Error {
    fn from(source: StoreError) -> Self {
        Self::Store { source }
    }
}

impl Error {
    fn not_loaded(id: SessionId, source: LoadError) -> Self {
        match source {
            LoadError::Store(source) => Self::Store { source },
            // The first state of a new session.
            LoadError::Save(source) => Self::NotSaved { id, source },
            source => Self::NotLoaded { id, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SessionId {
        SessionId::generate()
    }

    #[test]
    fn a_call_that_got_no_reply_has_a_status() {
        let within = Duration::from_secs(1);
        let ended = |reason| CallError::Ended {
            id: id(),
            reason,
            message: Some(()),
        };
        let table: [(Error, u16); 10] = [
            (CallError::NotStarted { id: id(), message: () }.into(), 401),
            (ended(EndReason::Terminated).into(), 401),
            (ended(EndReason::Shutdown).into(), 503),
            (
                CallError::MailboxFull {
                    id: id(),
                    capacity: 1,
                    message: (),
                }
                .into(),
                503,
            ),
            (
                CallError::Timeout {
                    id: id(),
                    within,
                    message: Some(()),
                }
                .into(),
                504,
            ),
            (
                CallError::Crashed {
                    id: id(),
                    message: Some(()),
                }
                .into(),
                500,
            ),
            (CallError::SelfCall { id: id(), message: () }.into(), 500),
            (CallError::<()>::ReplyDropped { id: id() }.into(), 500),
            (CastError::NotStarted { id: id(), message: () }.into(), 401),
            (Error::ResponseSent, 500),
        ];
        for (error, status) in table {
            assert_eq!(error.into_response().status(), status);
        }
    }

    #[test]
    fn a_start_that_failed_has_a_status_and_says_when_to_come_back() {
        let retry_after = Duration::from_millis(1_500);
        let per_minute = 1;
        let table: [(StartError, u16, Option<&str>); 6] = [
            (StartError::SessionLimit { max: 1 }, 503, Some("1")),
            (
                StartError::RateLimit {
                    per_minute,
                    retry_after,
                },
                503,
                Some("2"),
            ),
            (
                StartError::KeyRateLimit {
                    per_minute,
                    retry_after,
                },
                429,
                Some("2"),
            ),
            (StartError::ShuttingDown, 503, Some("1")),
            (StartError::InitPanicked { id: id() }, 500, None),
            (
                StartError::InitFailed {
                    id: id(),
                    source: std::sync::Arc::from(session_process::InitError::from("secret reason")),
                },
                500,
                None,
            ),
        ];
        for (error, status, after) in table {
            let error = Error::from(error);
            assert!(!error.body_text().contains("secret"));
            let response = error.into_response();
            assert_eq!(response.status(), status);
            let header = response.headers().get(header::RETRY_AFTER);
            assert_eq!(header.map(|value| value.to_str().unwrap()), after);
        }
    }

    #[test]
    fn a_store_that_failed_is_a_warning_and_a_node_that_was_first_is_none() {
        let warned = |source| {
            let (traced, _guard) = testkit::capture_tracing();
            let _ = Error::NotSaved { id: id(), source }.into_response();
            let text = traced.text();
            text.lines()
                .any(|line| line.contains("WARN") && line.contains("session store failed"))
        };
        assert!(warned(SaveError::Store(StoreError::Timeout { context: "commit" })));
        assert!(!warned(SaveError::Conflict));
    }

    #[test]
    fn no_error_shows_the_id() {
        let id = id();
        let error = Error::NotStarted { id: id.clone() };
        assert!(!format!("{error} {error:?} {}", error.body_text()).contains(id.expose()));
    }
}
