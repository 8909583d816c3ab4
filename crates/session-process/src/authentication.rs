//! When the user of a session last proved who they are: what step-up asks for.
//!
//! A volatile session remembers it in memory. A durable one in its record, as an attribute, so that it survives a sleep
//! and a restart and is the same on every node; by the store's clock.

use std::time::Duration;

use crate::{
    Process, SessionId, Sessions, Timestamp,
    records::{RecordError, UpdateError},
    store::StoreError,
};

/// Among the attributes of the record. Removed with them, and then nobody is authenticated: it fails closed.
const ATTRIBUTE: &str = "session-process.authenticated_at";

impl<P: Process> Sessions<P> {
    /// Notes that the session's user has proved just now who they are: with a password, a passkey, a second factor.
    /// `false`: there is no such session.
    ///
    /// Give the session another id before: [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// [`RecordError`]: it could not be noted in the record.
    ///
    /// # Cancel safety
    /// It may have been noted.
    pub async fn mark_authenticated(&self, id: &SessionId) -> Result<bool, RecordError> {
        let engine = self.engine();
        let now = engine.now();
        let live = engine.registry.get(id).filter(|session| session.is_live(now));
        if let Some(session) = live
            && session.kept().is_none()
        {
            session.set_authenticated(now);
            return Ok(true);
        }
        let Some(records) = self.records() else {
            return Ok(false);
        };
        let marked = records.update(id, |attributes| {
            let now = attributes.now().as_micros();
            attributes.insert::<i64>(ATTRIBUTE, now)
        });
        match marked.await {
            Ok(()) => Ok(true),
            Err(UpdateError::Missing) => Ok(false),
            Err(UpdateError::Refused(error) | UpdateError::Attribute(error)) => Err(error.into()),
            Err(UpdateError::Contended { attempts }) => Err(RecordError::Contended { attempts }),
            // Neither is said of an update without a version or a lock.
            Err(UpdateError::Changed { .. } | UpdateError::LockLost) => Err(RecordError::Contended { attempts: 1 }),
            Err(UpdateError::Store(error)) => Err(error.into()),
        }
    }

    /// How long ago that was; `None`: never, or there is no such session. No use of it.
    ///
    /// # Errors
    /// [`StoreError`]: the record could not be read. Not the same as `None`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn authenticated_for(&self, id: &SessionId) -> Result<Option<Duration>, StoreError> {
        let engine = self.engine();
        let now = engine.now();
        let live = engine.registry.get(id).filter(|session| session.is_live(now));
        if let Some(session) = live
            && session.kept().is_none()
        {
            let at = session.authenticated();
            return Ok(at.map(|at| Duration::from_nanos(now.saturating_sub(at))));
        }
        let Some(records) = self.records() else {
            return Ok(None);
        };
        let Some(view) = records.peek(id).await? else {
            return Ok(None);
        };
        // What isn't a time there is none.
        let at: Option<i64> = view.get(ATTRIBUTE).unwrap_or(None);
        Ok(at.map(|at| view.now().saturating_since(Timestamp::from_micros(at))))
    }
}
