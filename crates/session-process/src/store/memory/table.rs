//! [`Table`]: the records and their indices.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use super::{
    super::{Notice, Owner, OwnerText, Record, Removed, SessionKey, Version},
    locks::Held,
};
use crate::Timestamp;

/// The records, in shared form so that a reader copies them after the lock; and whose they are, and when they end.
#[derive(Default)]
pub(super) struct Table {
    records: BTreeMap<SessionKey, Arc<Record>>,
    by_user: HashMap<OwnerText, BTreeSet<SessionKey>>,
    by_group: HashMap<OwnerText, BTreeSet<SessionKey>>,
    by_end: BTreeSet<(Timestamp, SessionKey)>,
    /// Those that have another key than at first: (that one, the present one).
    by_first: BTreeSet<(SessionKey, SessionKey)>,
    last_version: u64,
    pub(super) held: Held,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// A version that was never given before.
    pub(super) fn next_version(&mut self) -> Version {
        self.last_version += 1;
        Version(self.last_version)
    }

    pub(super) fn live(&self, key: &SessionKey, now: Timestamp) -> Option<&Arc<Record>> {
        self.records.get(key).filter(|record| !record.is_expired(now))
    }

    /// Where the live record is that was created under this key.
    pub(super) fn locate(&self, first: SessionKey, now: Timestamp) -> Option<SessionKey> {
        let stayed = Some(&first).filter(|key| self.live(key, now).is_some_and(|record| record.first_key == first));
        let all = (first, SessionKey::from_bytes([0; 32]))..=(first, SessionKey::from_bytes([0xff; 32]));
        let mut moved = self.by_first.range(all).map(|(_, key)| key);
        stayed
            .or_else(|| moved.find(|key| self.live(key, now).is_some()))
            .copied()
    }

    /// Puts in a record whose key is free.
    pub(super) fn insert(&mut self, record: Record) {
        let key = record.key;
        self.index(&record);
        let before = self.records.insert(key, Arc::new(record));
        debug_assert!(before.is_none(), "the key was free");
    }

    pub(super) fn remove(&mut self, key: &SessionKey) -> Option<Arc<Record>> {
        let record = self.records.remove(key)?;
        self.unindex(&record);
        Some(record)
    }

    /// Changes a record in place, and its entries in the indices.
    pub(super) fn edit(&mut self, key: &SessionKey, edit: impl FnOnce(&mut Record)) {
        if let Some(mut record) = self.remove(key) {
            edit(Arc::make_mut(&mut record));
            self.index(&record);
            self.records.insert(record.key, record);
        }
    }

    /// The record that ended first, if it has.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Option<Arc<Record>> {
        let (end, key) = *self.by_end.first()?;
        if end > now {
            return None;
        }
        self.remove(&key)
    }

    /// The live sessions of a user.
    pub(super) fn of_user(&self, user: &OwnerText, now: Timestamp) -> impl Iterator<Item = &Arc<Record>> {
        self.by_user
            .get(user)
            .into_iter()
            .flatten()
            .filter_map(move |key| self.live(key, now))
    }

    pub(super) fn list(
        &self,
        owner: &Owner,
        after: Option<SessionKey>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Arc<Record>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from, Bound::Unbounded);
        let keys = match owner {
            Owner::User(user) => self.by_user.get(user),
            Owner::Group(group) => self.by_group.get(group),
            Owner::Everyone => {
                let all = self.records.range(range).map(|(_, record)| record);
                return all
                    .filter(|record| !record.is_expired(now))
                    .take(limit)
                    .cloned()
                    .collect();
            }
        };
        keys.into_iter()
            .flat_map(|keys| keys.range(range))
            .filter_map(|key| self.live(key, now))
            .take(limit)
            .cloned()
            .collect()
    }

    fn index(&mut self, record: &Record) {
        if let Some(user) = &record.user_id {
            self.by_user.entry(user.clone()).or_default().insert(record.key);
        }
        if let Some(group) = &record.group_id {
            self.by_group.entry(group.clone()).or_default().insert(record.key);
        }
        if record.first_key != record.key {
            self.by_first.insert((record.first_key, record.key));
        }
        let end = record.expires_at();
        if end < Timestamp::MAX {
            self.by_end.insert((end, record.key));
        }
    }

    fn unindex(&mut self, record: &Record) {
        take_out(&mut self.by_user, record.user_id.as_ref(), &record.key);
        take_out(&mut self.by_group, record.group_id.as_ref(), &record.key);
        self.by_end.remove(&(record.expires_at(), record.key));
        self.by_first.remove(&(record.first_key, record.key));
    }

    /// What the indices hold, for tests: users, groups, keys under them, ends, those that have moved.
    #[cfg(test)]
    pub(super) fn index_sizes(&self) -> [usize; 6] {
        let keys = |index: &HashMap<OwnerText, BTreeSet<SessionKey>>| index.values().map(BTreeSet::len).sum();
        [
            self.by_user.len(),
            keys(&self.by_user),
            self.by_group.len(),
            keys(&self.by_group),
            self.by_end.len(),
            self.by_first.len(),
        ]
    }
}

fn take_out(index: &mut HashMap<OwnerText, BTreeSet<SessionKey>>, owner: Option<&OwnerText>, key: &SessionKey) {
    let Some(owner) = owner else { return };
    if let Some(keys) = index.get_mut(owner) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(owner);
        }
    }
}

pub(super) fn removed(record: &Record) -> Removed {
    Removed::new(record.key, record.version, record.user_id.clone())
}

pub(super) fn notice_of(removed: &Removed) -> Notice {
    Notice::Removed {
        key: removed.key,
        version: removed.version,
    }
}
