//! [`Batch`]: the replies that wait for one write.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use tokio::sync::Notify;

use crate::SaveError;

/// Changes that become durable together.
pub(crate) struct Batch {
    /// What the store said. Known before the batch is settled, if that takes the process back.
    pub(super) written: OnceLock<Result<(), SaveError>>,
    outcome: OnceLock<Result<(), SaveError>>,
    told: Notify,
}

/// A batch in the hands of who owes it an outcome: if that is cut off, wherever it stands, those who wait are told that
/// their change is lost.
pub(super) struct Owed(Arc<Batch>);

impl Owed {
    pub(super) fn new() -> Self {
        Self(Arc::new(Batch {
            written: OnceLock::new(),
            outcome: OnceLock::new(),
            told: Notify::new(),
        }))
    }

    /// For who waits, or writes.
    pub(super) fn batch(&self) -> Arc<Batch> {
        Arc::clone(&self.0)
    }
}

impl Deref for Owed {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        &self.0
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if self.0.outcome.get().is_none() {
            self.0.settle(Err(SaveError::Gone));
        }
    }
}

impl Batch {
    pub(super) fn settle(&self, outcome: Result<(), SaveError>) {
        let _ = self.outcome.set(outcome);
        self.told.notify_waiters();
    }

    /// Whether the change is durable.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait(&self) -> Result<(), SaveError> {
        self.known(&self.outcome).await
    }

    /// What the store said, as soon as it has.
    pub(super) async fn written(&self) -> Result<(), SaveError> {
        self.known(&self.written).await
    }

    /// The store has said this. If it has the change, that is the outcome, and there first: whoever finds the batch written
    /// may let go of it.
    pub(super) fn store_said(&self, written: Result<(), SaveError>) {
        if written.is_ok() {
            let _ = self.outcome.set(Ok(()));
        }
        let _ = self.written.set(written);
        self.told.notify_waiters();
    }

    async fn known(&self, what: &OnceLock<Result<(), SaveError>>) -> Result<(), SaveError> {
        loop {
            let told = self.told.notified();
            if let Some(known) = what.get() {
                return known.clone();
            }
            told.await;
        }
    }
}
