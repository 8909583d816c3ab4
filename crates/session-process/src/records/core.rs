//! [`Core`]: what all parts of the records share, and the two ways to the store: reading and committing.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    access::Accesses,
    backend::Backend,
    cache::RecordCache,
    config::RecordsConfig,
    endings::{Because, Ending, Endings},
    entry::Entry,
    load::{Join, Loads},
    update::Desks,
};
use crate::{
    Timestamp,
    clock::nanos,
    events::{Event, Events},
    store::{
        Change, Changed, Conflict, Expect, Op, OwnerLimitPolicy, OwnerText, Removed, SessionKey, StoreError, Version,
    },
};

/// How long a store that may be away is asked before what is known is served.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Core {
    pub(super) config: RecordsConfig,
    pub(super) backend: Backend,
    pub(super) cache: RecordCache,
    pub(super) accesses: Accesses,
    pub(super) loads: Loads,
    pub(super) desks: Desks,
    pub(super) endings: Endings,
    pub(super) events: Events,
    pub(super) runtime: Handle,
}

/// A change that took effect.
pub(super) struct Done {
    pub(super) changed: Changed,
    /// The session as it is now, where that can be told.
    pub(super) entry: Option<Arc<Entry>>,
}

impl Core {
    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        self.backend.now()
    }

    /// A live session: from the cache, or from the store.
    pub(super) async fn find(
        self: &Arc<Self>,
        key: SessionKey,
        at_least: Version,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        let cached = self.cache.get(&key, self.now());
        if let Some(entry) = cached.filter(|entry| entry.record.version >= at_least) {
            return Ok(Some(entry));
        }
        let loaded = self.load(key, Join::Running).await?;
        let new_enough = |entry: &Arc<Entry>| entry.record.version >= at_least;
        // A load that had begun before may have been overtaken. One that begins now is as new as it gets.
        if loaded.current && loaded.entry.as_ref().is_none_or(new_enough) {
            return Ok(self.live(loaded.entry));
        }
        self.find_fresh(key).await
    }

    /// The same; while the store is away, what was known of the session, for as long as that may be served. `false`: it
    /// is that.
    pub(super) async fn find_or_known(
        self: &Arc<Self>,
        key: SessionKey,
        at_least: Version,
    ) -> Result<(Option<Arc<Entry>>, bool), StoreError> {
        let known = self.cache.known_while_away(&key, self.now());
        let Some(known) = known.filter(|entry| entry.record.version >= at_least) else {
            return self.find(key, at_least).await.map(|found| (found, true));
        };
        // It may be the notices alone that don't come.
        let clock = &self.backend.clock;
        let patience = clock.now().saturating_add(nanos(PATIENCE));
        match clock.before(patience, self.find(key, at_least)).await {
            Some(Ok(found)) => Ok((found, true)),
            Some(Err(error)) if !error.is_transient() => Err(error),
            _ => Ok((Some(known), false)),
        }
    }

    /// A live session as it is in the store now.
    pub(super) async fn find_fresh(self: &Arc<Self>, key: SessionKey) -> Result<Option<Arc<Entry>>, StoreError> {
        let loaded = self.load(key, Join::Next).await?;
        Ok(self.live(loaded.entry))
    }

    fn live(&self, entry: Option<Arc<Entry>>) -> Option<Arc<Entry>> {
        entry.filter(|entry| entry.is_live(self.now()))
    }

    /// Commits one change, in a task of its own: a caller that goes away takes nothing back half-way. `base`: the
    /// session as it is expected to be.
    pub(super) async fn commit(
        self: &Arc<Self>,
        change: Change,
        base: Option<Arc<Entry>>,
    ) -> Result<Result<Done, Conflict>, StoreError> {
        let core = Arc::clone(self);
        let task = self.runtime.spawn(async move { core.commit_here(change, base).await });
        task.await
            .unwrap_or_else(|error| Err(StoreError::unavailable("commit", error)))
    }

    /// The same, where the caller is a task that nobody drops.
    pub(super) async fn commit_here(
        &self,
        change: Change,
        base: Option<Arc<Entry>>,
    ) -> Result<Result<Done, Conflict>, StoreError> {
        let (key, op, expect) = (change.key, change.op.clone(), change.expect);
        let flight = self.cache.flight(key);
        let landing = match &op {
            Op::Rotate(to) => Some(self.cache.flight(*to)),
            _ => None,
        };
        let ends = matches!(op, Op::Delete | Op::Rotate(_));
        if ends {
            // Before the store's own notice can come.
            self.endings.claim(key);
        }
        let asked_at = self.now();
        let outcome = match self.backend.commit(change).await {
            Ok(outcome) => outcome,
            Err(error) => {
                // It may have taken effect.
                self.cache.doubt(&key);
                if let Op::Rotate(to) = op {
                    self.cache.doubt(&to);
                }
                if ends {
                    self.endings.disclaim(&key);
                    self.endings.tell(&Ending::Unknown { key: Some(key) });
                }
                return Err(error);
            }
        };
        let changed = match outcome {
            Ok(changed) => changed,
            Err(conflict) => {
                if ends {
                    self.endings.disclaim(&key);
                }
                match &conflict {
                    Conflict::Version { version, .. } => self.cache.learn(&key, *version, false),
                    Conflict::Missing | Conflict::Exists | Conflict::Epoch { .. } => self.cache.doubt(&key),
                    Conflict::OwnerLimit { .. } | Conflict::Fence { .. } => {}
                }
                return Ok(Err(conflict));
            }
        };
        let version = changed.version;
        self.gone(&changed.evicted, Because::Evicted);
        let base = base.filter(|base| expect.version == Some(base.record.version));
        let entry = match op {
            Op::Create(create) => {
                self.endings.disclaim(&key);
                Some(create.into_record(key, version, asked_at))
            }
            Op::Edit(edit) => base.map(|base| {
                let mut record = base.record.clone();
                edit.apply(&mut record, version, asked_at);
                record
            }),
            Op::Rotate(to) => {
                self.cache.doubt(&key);
                self.accesses.forget(&key);
                self.endings.tell(&Ending::Rotated { from: key, to });
                let record = base.map(|base| {
                    let mut record = base.record.clone();
                    (record.key, record.version) = (to, version);
                    record
                });
                let entry = record.map(|record| self.entry(record, asked_at));
                match (&entry, landing) {
                    (Some(entry), Some(landing)) => landing.committed(entry),
                    _ => self.cache.doubt(&to),
                }
                return Ok(Ok(Done { changed, entry }));
            }
            Op::Delete => {
                self.cache.learn(&key, version, true);
                self.accesses.forget(&key);
                self.tell_removed(key, version, None, Because::Deleted);
                None
            }
        };
        let entry = entry.map(|record| self.entry(record, asked_at));
        match &entry {
            Some(entry) => flight.committed(entry),
            None => self.cache.learn(&key, version, false),
        }
        Ok(Ok(Done { changed, entry }))
    }

    fn entry(&self, record: crate::store::Record, read_at: Timestamp) -> Arc<Entry> {
        let access = self.accesses.of(&record);
        Arc::new(Entry::new(record, access, read_at))
    }

    /// Sessions that the store says it removed.
    pub(super) fn gone(&self, removed: &[Removed], because: Because) {
        for Removed {
            key, version, user_id, ..
        } in removed
        {
            self.cache.learn(key, *version, true);
            self.accesses.forget(key);
            if self.endings.claim(*key) {
                self.tell_removed(*key, *version, user_id.clone(), because);
            }
        }
    }

    pub(super) fn tell_removed(&self, key: SessionKey, version: Version, user_id: Option<OwnerText>, because: Because) {
        self.events.emit(|| Event::RecordRemoved {
            key,
            reason: because.as_str(),
        });
        self.endings.tell(&Ending::Removed {
            key,
            version,
            user_id,
            because,
        });
    }

    /// Before a user's sessions are judged by their last use, the store must know it.
    pub(super) async fn flush_before_eviction(&self, user: Option<&OwnerText>) -> Result<(), StoreError> {
        let evicts = self
            .config
            .sessions_per_user
            .is_some_and(|limit| limit.policy == OwnerLimitPolicy::EvictOldest);
        if let (Some(user), true) = (user, evicts) {
            self.accesses.flush(&self.backend, Some(user)).await?;
        }
        Ok(())
    }

    /// Expects exactly what `entry` is.
    pub(super) fn expect(entry: &Entry) -> Expect {
        Expect {
            version: Some(entry.record.version),
            epoch: None,
        }
    }
}
