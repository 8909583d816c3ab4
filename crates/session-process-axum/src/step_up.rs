//! Step-up: what only somebody may do who has proved lately who they are.

use std::time::Duration;

use session_process::{Init, Process, SessionId, records::RecordError};

use crate::{Error, Session};

impl<P: Process> Session<P> {
    /// At login, and whenever the user has proved who they are (again): gives the session a new id, as
    /// [`rotate`](Self::rotate) does, and notes the time of the authentication. Returns the id.
    ///
    /// A volatile session keeps that time in memory, a durable one in its record, for every node. A session that is
    /// rotated otherwise keeps it.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate); [`Error::Store`]: the time could not be noted, so nothing counts as recent.
    ///
    /// # Cancel safety
    /// As [`rotate`](Self::rotate). The time may have been noted.
    pub async fn rotate_authenticated(&self) -> Result<SessionId, Error>
    where
        P: Init,
    {
        let id = self.rotate().await?;
        match self.sessions().mark_authenticated(&id).await {
            Ok(true) => Ok(id),
            Ok(false) => Err(Error::NotStarted { id }),
            Err(RecordError::Store(source)) => Err(Error::Store { source }),
            Err(error) => Err(Error::Other { kind: error.kind() }),
        }
    }

    /// How long ago the session's user last proved who they are; `None`: never, or there is no session.
    ///
    /// # Errors
    /// [`Error::Store`]: that could not be read. Not the same as `None`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn authenticated_for(&self) -> Result<Option<Duration>, Error> {
        match self.id().await? {
            Some(id) => Ok(self.sessions().authenticated_for(&id).await?),
            None => Ok(None),
        }
    }

    /// Lets only those on who have proved `within` this time who they are
    /// ([`rotate_authenticated`](Self::rotate_authenticated)): before a password is changed, a session of another
    /// device is ended, an order is paid.
    ///
    /// ```
    /// # use session_process::Process;
    /// # use session_process_axum::{Error, Session};
    /// # #[derive(Default)] struct Account; impl Process for Account {}
    /// use std::time::Duration;
    ///
    /// async fn change_password(session: Session<Account>) -> Result<(), Error> {
    ///     session.require_recent_auth(Duration::from_secs(5 * 60)).await?; // 403 "sign in again"
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::AuthenticationTooOld`] (403); [`Error::NoSession`] (401); [`Error::Store`] (503).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn require_recent_auth(&self, within: Duration) -> Result<(), Error> {
        let id = self.id().await?.ok_or(Error::NoSession)?;
        match self.sessions().authenticated_for(&id).await? {
            Some(ago) if ago < within => Ok(()),
            _ => Err(Error::AuthenticationTooOld { id, within }),
        }
    }
}
