//! Deletions, by ones and by thousands; and lists of what there is.
//!
//! # Invariants
//! 1. A session is deleted because it is an owner's at that moment: one that was given to somebody else meanwhile
//!    stays.

use std::sync::Arc;

use super::{
    core::Core,
    endings::{Because, Ending},
    handle::RecordHandle,
    load::Join,
    view::Listed,
};
use crate::store::{Change, Conflict, Expect, Op, Owner, Record, SessionKey, StoreError, Version};

/// Sessions that are listed and deleted in one piece. A page of records is some hundred KiB.
pub(super) const PAGE: usize = 500;
/// How often a deletion asks anew whose a session is that is changed all the time, before it takes the last answer.
const ROUNDS: usize = 4;

impl Core {
    pub(super) async fn delete(self: &Arc<Self>, key: SessionKey) -> Result<bool, StoreError> {
        let change = Change {
            key,
            expect: Expect::default(),
            op: Op::Delete,
        };
        Ok(self.commit(change, None).await?.is_ok())
    }

    /// Deletes all sessions of an owner but one. Returns how many.
    pub(super) async fn delete_of(
        self: &Arc<Self>,
        owner: &Owner,
        except: Option<SessionKey>,
    ) -> Result<usize, StoreError> {
        let (mut after, mut deleted) = (None, 0);
        loop {
            let page = self.backend.list(owner, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(deleted);
            };
            after = Some(last.key);
            let wanted = page.iter().filter(|record| Some(record.key) != except);
            let wanted = wanted.map(|record| (record.key, Some(record.version))).collect();
            deleted += self.delete_those(owner, wanted).await?;
        }
    }

    pub(super) async fn delete_those(
        self: &Arc<Self>,
        owner: &Owner,
        mut wanted: Vec<(SessionKey, Option<Version>)>,
    ) -> Result<usize, StoreError> {
        let mut deleted = 0;
        for round in 1.. {
            if wanted.is_empty() {
                break;
            }
            let core = Arc::clone(self);
            let task = self.runtime.spawn(async move { core.delete_batch(wanted).await });
            let (done, changed) = task
                .await
                .unwrap_or_else(|error| Err(StoreError::unavailable("delete", error)))?;
            deleted += done;
            wanted = Vec::new();
            for key in changed {
                let now = self.load(key, Join::Next).await?.entry;
                if let Some(entry) = now.filter(|entry| is_of(&entry.record, owner)) {
                    wanted.push((key, (round < ROUNDS).then_some(entry.record.version)));
                }
            }
        }
        Ok(deleted)
    }

    /// Returns how many were deleted, and which have changed.
    async fn delete_batch(
        &self,
        wanted: Vec<(SessionKey, Option<Version>)>,
    ) -> Result<(usize, Vec<SessionKey>), StoreError> {
        let flights: Vec<_> = wanted.iter().map(|(key, _)| self.cache.flight(*key)).collect();
        let change = |(key, version): &(SessionKey, Option<Version>)| Change {
            key: *key,
            expect: Expect {
                version: *version,
                epoch: None,
            },
            op: Op::Delete,
        };
        let changes = wanted.iter().map(change).collect();
        for (key, _) in &wanted {
            self.endings.claim(*key);
        }
        let outcomes = match self.backend.commit_all(changes).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                for (key, _) in &wanted {
                    self.cache.doubt(key);
                    self.endings.disclaim(key);
                    self.endings.tell(&Ending::Unknown { key: Some(*key) });
                }
                return Err(error);
            }
        };
        drop(flights);
        let (mut deleted, mut changed) = (0, Vec::new());
        for ((key, _), outcome) in wanted.into_iter().zip(outcomes) {
            match outcome {
                Ok(done) => {
                    deleted += 1;
                    self.cache.learn(&key, done.version, true);
                    self.accesses.forget(&key);
                    self.tell_removed(key, done.version, None, Because::Deleted);
                }
                Err(conflict) => {
                    self.endings.disclaim(&key);
                    self.cache.doubt(&key);
                    if matches!(conflict, Conflict::Version { .. } | Conflict::Epoch { .. }) {
                        changed.push(key);
                    }
                }
            }
        }
        Ok((deleted, changed))
    }

    pub(super) async fn list(
        &self,
        owner: &Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let page = self.backend.list(owner, after, limit).await?;
        Ok(page.into_iter().map(|record| self.listed(record)).collect())
    }

    fn listed(&self, record: Record) -> Listed {
        let accessed_at = self.accesses.of(&record).at();
        Listed {
            handle: RecordHandle::of_key(&record.key),
            key: record.key,
            version: record.version,
            created_at: record.created_at,
            accessed_at,
            expires_at: record.lifetime.ends(accessed_at),
            user_id: record.user_id,
            group_id: record.group_id,
            label: record.label,
        }
    }

    /// Deletes the session of this handle, if it is the owner's.
    pub(super) async fn delete_listed(
        self: &Arc<Self>,
        owner: &Owner,
        handle: RecordHandle,
    ) -> Result<bool, StoreError> {
        let mut after = None;
        loop {
            let page = self.backend.list(owner, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            after = Some(last.key);
            let found = page.iter().find(|record| RecordHandle::of_key(&record.key) == handle);
            if let Some(record) = found {
                let wanted = vec![(record.key, Some(record.version))];
                return Ok(self.delete_those(owner, wanted).await? > 0);
            }
        }
    }

    /// The keys of an owner's sessions that have an attribute.
    pub(super) async fn with_attribute(&self, owner: &Owner, name: &str) -> Result<Vec<SessionKey>, StoreError> {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = self.backend.list(owner, after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = Some(last.key);
            let with = page.iter().filter(|record| record.attributes.contains_key(name));
            found.extend(with.map(|record| record.key));
        }
    }
}

fn is_of(record: &Record, owner: &Owner) -> bool {
    match owner {
        Owner::User(user) => record.user_id.as_ref() == Some(user),
        Owner::Group(group) => record.group_id.as_ref() == Some(group),
        Owner::Everyone => true,
    }
}
