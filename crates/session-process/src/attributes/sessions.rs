//! Attributes by session id: the messages with their two errors as one.

use std::{borrow::Cow, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{AttributeError, Attributes, messages};
use crate::{CallError, Handle, SessionId, Sessions};

/// Why an attribute of a session was not read or set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session did not handle the message.
    #[error(transparent)]
    Call(#[from] CallError<()>),
    /// It did, and could not do what was asked. Nothing was changed.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

impl Error {
    /// A short stable word for the kind, for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind(),
            Self::Attribute(error) => error.kind(),
        }
    }
}

/// Attributes by session id. Each is one message: with the deadline, the errors and the cancel safety of
/// [`call`](Sessions::call).
impl Sessions<Attributes> {
    async fn ask<M, R>(&self, id: &SessionId, message: M) -> Result<R, Error>
    where
        Attributes: Handle<M, Reply = Result<R, AttributeError>>,
        M: Send + 'static,
    {
        Ok(self.call(id, message).await.map_err(|error| error.map(drop))??)
    }

    /// A value; `None` if it is absent or has expired.
    ///
    /// # Errors
    /// [`WrongType`](AttributeError::WrongType) if it is of another type; a call's.
    pub async fn get<T>(&self, id: &SessionId, key: impl Into<Cow<'static, str>>) -> Result<Option<T>, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.ask(id, messages::get(key)).await
    }

    /// Sets a value, for as long as the session lives.
    ///
    /// # Errors
    /// A limit, a value that can't be written as JSON; a call's.
    pub async fn insert<T>(&self, id: &SessionId, key: impl Into<Cow<'static, str>>, value: T) -> Result<(), Error>
    where
        T: Serialize + Send + 'static,
    {
        self.ask(id, messages::insert(key, value)).await
    }

    /// Sets a value that is absent again `after` some time.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub async fn insert_expiring<T>(
        &self,
        id: &SessionId,
        key: impl Into<Cow<'static, str>>,
        value: T,
        after: Duration,
    ) -> Result<(), Error>
    where
        T: Serialize + Send + 'static,
    {
        self.ask(id, messages::insert_expiring(key, value, after)).await
    }

    /// Takes a value out.
    ///
    /// # Errors
    /// As [`get`](Self::get); a value of another type stays.
    pub async fn remove<T>(&self, id: &SessionId, key: impl Into<Cow<'static, str>>) -> Result<Option<T>, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.ask(id, messages::remove(key)).await
    }

    /// Reads and changes several values as one, while nobody else does: see
    /// [`attributes::update`](super::update). Returns what `change` returns.
    ///
    /// # Errors
    /// That of `change`, and then nothing was changed; a call's.
    pub async fn update<F, R>(&self, id: &SessionId, change: F) -> Result<R, Error>
    where
        F: FnOnce(&mut Attributes) -> Result<R, AttributeError> + Send + 'static,
        R: Send + 'static,
    {
        self.ask(id, messages::update(change)).await
    }

    /// Takes all values out.
    ///
    /// # Errors
    /// A call's.
    pub async fn clear(&self, id: &SessionId) -> Result<(), Error> {
        Ok(self
            .call(id, messages::clear())
            .await
            .map_err(|error| error.map(drop))?)
    }

    /// All values, as they are now.
    ///
    /// # Errors
    /// A call's.
    pub async fn attributes(&self, id: &SessionId) -> Result<Attributes, Error> {
        Ok(self.call(id, messages::all()).await.map_err(|error| error.map(drop))?)
    }
}
