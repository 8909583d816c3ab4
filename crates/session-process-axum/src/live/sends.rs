//! What pages send: [`Message`], from a [`Caller`], with [`SendError`] as the other outcome.

use std::pin::Pin;

use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use session_process::{Handle, Process, SessionId, Sessions};

use super::frame::{Answer, Send as Sent, Wrong};
use crate::Error;

pub(super) type OnSend<P> = dyn Fn(Caller<P>, Message) -> Sending + Send + Sync;
pub(super) type Sending = Pin<Box<dyn Future<Output = Result<Value, SendError>> + Send>>;

pub(super) fn boxed<T: Serialize>(sending: impl Future<Output = Result<T, SendError>> + Send + 'static) -> Sending {
    Box::pin(async move {
        let outcome = sending.await?;
        serde_json::to_value(outcome).map_err(|error| {
            tracing::error!(%error, "an answer to a page could not be written as JSON");
            SendError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the server made a mistake",
            )
        })
    })
}

/// The session of the page that sends a message.
#[derive(Debug, Clone)]
pub struct Caller<P> {
    pub(super) sessions: Sessions<P>,
    pub(super) id: SessionId,
}

impl<P: Process> Caller<P> {
    /// Sends the process a message: a use of the session.
    ///
    /// # Errors
    /// [`Error`], which becomes a [`SendError`] by `?`.
    ///
    /// # Cancel safety
    /// As [`Sessions::call`].
    pub async fn call<M>(&self, message: M) -> Result<P::Reply, Error>
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        Ok(self.sessions.call(&self.id, message).await?)
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// All sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions<P> {
        &self.sessions
    }
}

/// What a page has sent: a name and data, both unchecked.
#[derive(Debug)]
pub struct Message {
    name: String,
    data: Value,
}

impl Message {
    /// What it is for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What came with it, as a type.
    ///
    /// # Errors
    /// [`SendError`] with the code `bad_data`: it is none of that type.
    pub fn data<T: DeserializeOwned>(self) -> Result<T, SendError> {
        serde_json::from_value(self.data)
            .map_err(|error| SendError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_data", error.to_string()))
    }

    /// Name and data.
    #[must_use]
    pub fn into_parts(self) -> (String, Value) {
        (self.name, self.data)
    }
}

/// Why a message was not taken: told to the page that sent it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    pub(super) status: StatusCode,
    code: String,
    message: String,
}

impl SendError {
    /// A status, for a page that sends by `POST`; a word for programs and a text for people.
    pub fn new(status: StatusCode, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
        }
    }

    /// The application doesn't want it: 422.
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// The user may not do that: 403.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// There is nothing by this name: 404.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", "there is no such message")
    }
}

impl From<Error> for SendError {
    fn from(error: Error) -> Self {
        let status = error.status();
        let (code, message) = words(status);
        if code == "internal" {
            tracing::error!(%error, "a message of a page failed");
        }
        Self::new(status, code, message)
    }
}

/// What a page is told of an [`Error`] with this status. What went wrong inside is for the log.
pub(super) fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::UNAUTHORIZED => ("no_session", "the session has ended"),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => ("busy", "try again in a moment"),
        StatusCode::GATEWAY_TIMEOUT => ("timeout", "there was no answer in time"),
        StatusCode::CONFLICT => ("conflict", "somebody else was first: try again"),
        _ => ("internal", "the server made a mistake"),
    }
}

/// What becomes of a message, and the status of that.
pub(super) async fn answer<P: Process>(
    on_send: Option<&OnSend<P>>,
    caller: Caller<P>,
    sent: Sent,
) -> (StatusCode, Answer) {
    let Sent { id, name, data } = sent;
    let outcome = match on_send {
        Some(on_send) => on_send(caller, Message { name, data }).await,
        None => Err(SendError::unknown()),
    };
    match outcome {
        Ok(data) => (StatusCode::OK, Answer::new(id, Ok(data))),
        Err(SendError { status, code, message }) => (status, Answer::new(id, Err(Wrong { code, message }))),
    }
}
