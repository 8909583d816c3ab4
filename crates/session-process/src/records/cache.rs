//! [`RecordCache`]: records in memory, never an old one put back.
//!
//! # Invariants
//! 1. An entry is put in only by a [`Flight`]: a load or a commit that was announced before it began.
//! 2. What is learned about a session while a flight of its is under way (a newer version, a removal, that notices
//!    were lost) is told to the flight under the same lock. So what the flight brings home is put in only if it is no
//!    older than everything that was learned.
//! 3. No version in the cache gives way to an older one.
//! 4. While changes are not reported, nothing is served as current. What was known before stays only where it may be
//!    served as that, and goes when they are reported again.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{config::CacheLimit, entry::Entry};
use crate::{
    Timestamp,
    store::{SessionKey, Version},
    sync::Seed,
};

/// Shards of what is known to flights: more than are ever at it at a time.
const SHARDS: usize = 64;

pub(super) struct RecordCache {
    map: Cache<SessionKey, Arc<Entry>, Weigh, Seed>,
    flights: [Mutex<HashMap<SessionKey, Known>>; SHARDS],
    /// Changes are reported. Without that, nothing that is cached may be served.
    trusted: AtomicBool,
    max_age: Duration,
    /// How long what was known may be served while the store is away.
    while_away: Option<Duration>,
    /// Since when changes are not reported, by the store's clock, in microseconds.
    deaf_since: AtomicI64,
}

/// What was learned about a session since the first of its flights began.
#[derive(Default)]
struct Known {
    flights: usize,
    at_least: Version,
    /// Anything may have happened.
    doubtful: bool,
}

#[derive(Clone)]
struct Weigh {
    bytes: bool,
}

impl Weighter<SessionKey, Arc<Entry>> for Weigh {
    fn weight(&self, _: &SessionKey, entry: &Arc<Entry>) -> u64 {
        if self.bytes { entry.bytes } else { 1 }
    }
}

impl RecordCache {
    pub(super) fn new(limit: CacheLimit, max_age: Duration, while_away: Option<Duration>) -> Self {
        let (entries, weight, bytes) = match limit {
            CacheLimit::Entries(entries) => (entries, entries, false),
            // What a session with a few attributes takes.
            CacheLimit::Bytes(bytes) => (bytes / 1024, bytes, true),
        };
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(weight as u64)
            .build()
            .expect("both capacities are set");
        Self {
            map: Cache::with_options(options, Weigh { bytes }, Seed::default(), DefaultLifecycle::default()),
            flights: std::array::from_fn(|_| Mutex::default()),
            trusted: AtomicBool::new(true),
            max_age,
            while_away,
            deaf_since: AtomicI64::new(0),
        }
    }

    /// What may be served at `now` without asking the store.
    #[inline]
    pub(super) fn get(&self, key: &SessionKey, now: Timestamp) -> Option<Arc<Entry>> {
        self.map.get(key).filter(|entry| {
            entry.is_fresh(now, self.max_age) && entry.is_live(now) && self.trusted.load(Ordering::Acquire)
        })
    }

    pub(super) fn has_newer(&self, key: &SessionKey, version: Version) -> bool {
        self.map.peek(key).is_some_and(|entry| entry.record.version > version)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.map.weight()
    }

    /// Announces a load or a commit.
    pub(super) fn flight(&self, key: SessionKey) -> Flight<'_> {
        self.shard(&key).lock().entry(key).or_default().flights += 1;
        Flight { cache: self, key }
    }

    /// There is this version, or (`gone`) there was and is no more.
    pub(super) fn learn(&self, key: &SessionKey, version: Version, gone: bool) {
        let at_least = Version(version.0.saturating_add(u64::from(gone)));
        let mut flights = self.shard(key).lock();
        if let Some(known) = flights.get_mut(key) {
            known.at_least = known.at_least.max(at_least);
        }
        self.map.remove_if(key, |entry| entry.record.version < at_least);
    }

    /// Whatever was known of this session may be wrong.
    pub(super) fn doubt(&self, key: &SessionKey) {
        let mut flights = self.shard(key).lock();
        if let Some(known) = flights.get_mut(key) {
            known.doubtful = true;
        }
        self.map.remove(key);
    }

    /// Whatever was known of any session may be wrong.
    pub(super) fn clear(&self) {
        self.doubt_flights();
        self.map.clear();
    }

    fn doubt_flights(&self) {
        for shard in &self.flights {
            shard.lock().values_mut().for_each(|known| known.doubtful = true);
        }
    }

    /// Changes are not reported from now on, and will be again.
    pub(super) fn deafen(&self, now: Timestamp) {
        if self.while_away.is_none() {
            return self.distrust();
        }
        if self.trusted.swap(false, Ordering::AcqRel) {
            self.deaf_since.store(now.as_micros(), Ordering::Release);
        }
        self.doubt_flights();
    }

    /// What was known of a session when changes were last reported, or since, if that may still be served.
    pub(super) fn known_while_away(&self, key: &SessionKey, now: Timestamp) -> Option<Arc<Entry>> {
        let bound = self.while_away.filter(|_| !self.is_trusted())?;
        let since = Timestamp::from_micros(self.deaf_since.load(Ordering::Acquire));
        if now.saturating_since(since) > bound {
            return None;
        }
        self.map.get(key).filter(|entry| entry.is_live(now))
    }

    /// Nobody reports changes any more.
    pub(super) fn distrust(&self) {
        self.trusted.store(false, Ordering::Release);
        self.clear();
    }

    /// Changes are reported again. What was put in meanwhile, or is on its way, may have missed some.
    pub(super) fn trust(&self) {
        self.clear();
        self.trusted.store(true, Ordering::Release);
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Acquire)
    }

    fn shard(&self, key: &SessionKey) -> &Mutex<HashMap<SessionKey, Known>> {
        &self.flights[usize::from(key.as_bytes()[31]) % SHARDS]
    }
}

/// A load or a commit under way.
pub(super) struct Flight<'a> {
    cache: &'a RecordCache,
    key: SessionKey,
}

impl Flight<'_> {
    /// Brings home what a load found. `false`: it is older than what was learned meanwhile.
    pub(super) fn loaded(self, entry: Option<&Arc<Entry>>) -> bool {
        let flights = self.cache.shard(&self.key).lock();
        let known = &flights[&self.key];
        match entry {
            Some(entry) => {
                let current = !known.doubtful && entry.record.version >= known.at_least;
                if current {
                    self.put(entry);
                }
                current
            }
            None => {
                self.cache.map.remove(&self.key);
                !known.doubtful && known.at_least == Version::default()
            }
        }
    }

    /// Brings home what a commit made.
    pub(super) fn committed(self, entry: &Arc<Entry>) {
        let mut flights = self.cache.shard(&self.key).lock();
        let known = flights.get_mut(&self.key).expect("this flight is under way");
        let version = entry.record.version;
        let current = !known.doubtful && version >= known.at_least;
        known.at_least = known.at_least.max(version);
        if current {
            self.put(entry);
        } else {
            self.cache
                .map
                .remove_if(&self.key, |entry| entry.record.version < version);
        }
    }

    fn put(&self, entry: &Arc<Entry>) {
        let version = entry.record.version;
        let newer = |cached: Arc<Entry>| cached.record.version > version;
        if !self.cache.map.peek(&self.key).is_some_and(newer) {
            self.cache.map.insert(self.key, Arc::clone(entry));
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.cache.shard(&self.key).lock();
        if let Some(known) = flights.get_mut(&self.key) {
            known.flights -= 1;
            if known.flights == 0 {
                flights.remove(&self.key);
            }
        }
    }
}
