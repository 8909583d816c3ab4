//! [`Lock`]: a lock that is held.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{
    clock::LeaseClock,
    keeper::{Command, Trust},
};
use crate::store::{Fence, LockKey, StoreError, Token};

/// A lock that is held, until it is released, dropped, or [lost](Self::lost).
///
/// Dropping it gives it up in the background; [`release`](Self::release) says when that is done.
#[must_use = "a lock that is dropped is given up"]
pub struct Lock {
    pub(super) key: LockKey,
    pub(super) token: Token,
    pub(super) trust: Arc<Trust>,
    pub(super) clock: LeaseClock,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

impl Lock {
    /// The token with which it was taken: greater than that of every holder before.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// For changes that are to take effect only as long as nobody else has the lock.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence {
            lock: self.key,
            token: self.token,
        }
    }

    /// Whether it is held for certain at this moment. The next moment is another matter: see [`fence`](Self::fence).
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.clock.now() < self.trust.until()
    }

    /// For how long it is held for certain, if it can't be renewed from now on.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        Duration::from_nanos(self.trust.until().saturating_sub(self.clock.now()))
    }

    /// Ends when the lock is lost: it could not be renewed in time, or somebody took it away. Then whatever is done
    /// under it should stop. Never as long as it is held.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn lost(&self) {
        let mut lost = self.trust.lost();
        // An error: what could tell is gone.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Begins the lease anew, of another length from now on. `false`: it had been lost.
    ///
    /// # Errors
    /// [`StoreError`]: the store could not be asked. The lock goes on being renewed as it was.
    ///
    /// # Cancel safety
    /// It may have been done.
    pub async fn extend(&self, lease: Duration) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        let lease = lease.max(super::service::SHORTEST);
        if self.commands.send(Command::Extend(lease, reply)).is_err() {
            return Ok(false);
        }
        // An error: it was lost meanwhile.
        answer.await.unwrap_or(Ok(false))
    }

    /// Gives it up. `false`: it had been lost.
    ///
    /// # Errors
    /// [`StoreError`]: it is open whether the store knows of it. If not, the lock is free when its lease is over.
    ///
    /// # Cancel safety
    /// It is given up all the same.
    pub async fn release(self) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Release(reply)).is_err() {
            return Ok(false);
        }
        // An error: it was lost meanwhile.
        answer.await.unwrap_or(Ok(false))
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("key", &self.key)
            .field("token", &self.token)
            .field("held", &self.is_held())
            .finish_non_exhaustive()
    }
}
