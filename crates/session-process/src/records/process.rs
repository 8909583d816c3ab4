//! What an engine asks of the records for its durable processes: their snapshots lie in the same records, so they go
//! through the same cache.

use std::sync::Arc;

use super::{SessionRecords, entry::Entry};
use crate::store::{Change, Conflict, Expect, Op, Record, SessionKey, StoreError, Version};

impl SessionRecords {
    /// Whether there is such a session.
    pub(crate) async fn is_there(&self, key: SessionKey) -> Result<bool, StoreError> {
        Ok(self.core.find(key, Version::default()).await?.is_some())
    }

    /// Where the sessions are that began under these keys.
    pub(crate) async fn locate(&self, first_keys: &[SessionKey]) -> Result<Vec<Option<SessionKey>>, StoreError> {
        self.core.backend.locate(first_keys).await
    }

    /// Tells `observer` of each change of a record, made here or elsewhere, as the store tells of it. It must be quick.
    pub(crate) fn on_changed(&self, observer: impl Fn(&SessionKey, Version) + Send + Sync + 'static) {
        self.core.endings.observe_changes(Arc::new(observer));
    }

    /// A record as it is in the store now: another node may have written to it.
    pub(crate) async fn record(&self, key: SessionKey) -> Result<Option<Record>, StoreError> {
        let found = self.core.find_fresh(key).await?;
        Ok(found.map(|entry| entry.record.clone()))
    }

    /// One change, whose version is the outcome.
    pub(crate) async fn commit(&self, change: Change) -> Result<Result<Version, Conflict>, StoreError> {
        let base = self.core.cache.get(&change.key, self.core.now());
        let outcome = self.core.commit(change, base).await?;
        Ok(outcome.map(|done| done.changed.version))
    }

    /// The same, where the caller is a task that nobody drops.
    pub(crate) async fn commit_here(&self, change: Change) -> Result<Result<Version, Conflict>, StoreError> {
        let base = self.core.cache.get(&change.key, self.core.now());
        let outcome = self.core.commit_here(change, base).await?;
        Ok(outcome.map(|done| done.changed.version))
    }

    /// Moves a record to another key, whatever version it has.
    pub(crate) async fn rotate_key(&self, key: SessionKey, to: SessionKey) -> Result<Result<(), Conflict>, StoreError> {
        let change = Change {
            key,
            expect: Expect::default(),
            op: Op::Rotate(to),
        };
        Ok(self.commit(change).await?.map(|_| ()))
    }

    /// The process of this session was used: gathered like every other access.
    pub(crate) fn note_use(&self, key: SessionKey) {
        let (core, now) = (Arc::clone(&self.core), self.core.now());
        let note = move |core: &super::core::Core, entry: &Entry| core.accesses.note(entry, now);
        if let Some(entry) = core.cache.get(&key, now) {
            return note(&core, &entry);
        }
        self.core.runtime.spawn(async move {
            // If the store can't be asked, the next use tells it.
            if let Ok(Some(entry)) = core.find(key, Version::default()).await {
                note(&core, &entry);
            }
        });
    }
}
