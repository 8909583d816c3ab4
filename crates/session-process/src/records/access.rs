//! When sessions were last used: gathered in memory, written in batches.
//!
//! # Invariants
//! 1. An access that was noted is in `pending`, or the store was told a later one. A failed flush loses none.
//! 2. The store hears of an access no later than `interval` after it, and [`margin`] before it would take the session
//!    for unused too long.
//! 3. An access never moves back.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{backend::Backend, entry::Entry};
use crate::{
    Timestamp,
    store::{OwnerText, Record, SessionKey, StoreError, Touch},
};

/// Touches in one piece: a store that writes them in one transaction holds up the others for some milliseconds.
const PIECE: usize = 1_000;

/// How long before the end of a session's idle time the store is told of a use: time for several attempts at a store
/// that is in trouble.
pub(super) fn margin(idle_timeout: Duration) -> Duration {
    (idle_timeout / 2).min(Duration::from_secs(30))
}

/// The last use of one session. Shared by all cached versions of it.
#[derive(Debug)]
pub(super) struct Access {
    at: AtomicI64,
    /// What the store was told.
    stored: AtomicI64,
    /// It is in `pending`. Read after `at` is written, and written before `at` is read: so either the flush sees the
    /// new time, or whoever wrote it sees that it has to queue again. (Hence `SeqCst`.)
    queued: AtomicBool,
}

impl Access {
    fn new(stored: Timestamp) -> Self {
        Self {
            at: AtomicI64::new(stored.as_micros()),
            stored: AtomicI64::new(stored.as_micros()),
            queued: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at.load(Ordering::Relaxed))
    }

    pub(super) fn stored(&self) -> Timestamp {
        Timestamp::from_micros(self.stored.load(Ordering::Relaxed))
    }

    fn is_stored(&self, at: Timestamp) {
        self.stored.fetch_max(at.as_micros(), Ordering::Relaxed);
    }
}

struct Pending {
    access: Arc<Access>,
    user: Option<OwnerText>,
    idle_timeout: Option<Duration>,
    due: Timestamp,
}

impl Pending {
    /// When the store has to be told of a use at `now`.
    fn due(access: &Access, idle_timeout: Option<Duration>, now: Timestamp, interval: Duration) -> Timestamp {
        let due = now.saturating_add(interval);
        idle_timeout.map_or(due, |idle| {
            due.min(access.stored().saturating_add(idle.saturating_sub(margin(idle))))
        })
    }
}

#[derive(Default)]
struct AllPending {
    by_key: HashMap<SessionKey, Pending>,
    /// The keys of each user: a login looks at them, and there may be 100,000 others.
    by_user: HashMap<OwnerText, HashSet<SessionKey>>,
}

impl AllPending {
    fn insert(&mut self, key: SessionKey, pending: Pending) -> Option<Pending> {
        let before = self.remove(&key);
        if let Some(user) = &pending.user {
            self.by_user.entry(user.clone()).or_default().insert(key);
        }
        self.by_key.insert(key, pending);
        before
    }

    fn remove(&mut self, key: &SessionKey) -> Option<Pending> {
        let pending = self.by_key.remove(key)?;
        if let Some(user) = &pending.user
            && let Some(keys) = self.by_user.get_mut(user)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_user.remove(user);
            }
        }
        Some(pending)
    }

    /// Those of a user, or all.
    fn keys(&self, user: Option<&OwnerText>) -> Vec<SessionKey> {
        match user {
            Some(user) => self.by_user.get(user).into_iter().flatten().copied().collect(),
            None => self.by_key.keys().copied().collect(),
        }
    }
}

/// The accesses that the store was not told yet.
pub(super) struct Accesses {
    pending: Mutex<AllPending>,
    /// When the first of them is due.
    due: AtomicI64,
    /// `due` came nearer.
    pub(super) nearer: Notify,
    /// One flush of all at a time.
    flushing: tokio::sync::Mutex<()>,
    interval: Duration,
    batch: usize,
}

impl Accesses {
    pub(super) fn new(interval: Duration, batch: usize) -> Self {
        Self {
            pending: Mutex::default(),
            due: AtomicI64::new(Timestamp::MAX.as_micros()),
            nearer: Notify::new(),
            flushing: tokio::sync::Mutex::default(),
            interval,
            batch,
        }
    }

    /// For a record just read or written.
    pub(super) fn of(&self, record: &Record) -> Arc<Access> {
        let stored = record.accessed_at;
        let mut pending = self.pending.lock();
        let Some(waiting) = pending.by_key.get(&record.key) else {
            return Arc::new(Access::new(stored));
        };
        let access = Arc::clone(&waiting.access);
        access.at.fetch_max(stored.as_micros(), Ordering::SeqCst);
        access.is_stored(stored);
        // Somebody logged in or out since it was used.
        if waiting.user != record.user_id
            && let Some(waiting) = pending.remove(&record.key)
        {
            let user = record.user_id.clone();
            pending.insert(record.key, Pending { user, ..waiting });
        }
        access
    }

    #[inline]
    pub(super) fn note(&self, entry: &Entry, now: Timestamp) {
        let access = &entry.access;
        if access.at.load(Ordering::Relaxed) < now.as_micros() {
            access.at.fetch_max(now.as_micros(), Ordering::SeqCst);
            if !access.queued.load(Ordering::SeqCst) {
                self.queue(entry, now);
            }
        }
    }

    #[cold]
    fn queue(&self, entry: &Entry, now: Timestamp) {
        let access = &entry.access;
        let mut pending = self.pending.lock();
        if access.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        let idle_timeout = entry.record.lifetime.idle_timeout;
        let due = Pending::due(access, idle_timeout, now, self.interval);
        let new = Pending {
            access: Arc::clone(access),
            user: entry.record.user_id.clone(),
            idle_timeout,
            due,
        };
        if let Some(before) = pending.insert(entry.record.key, new)
            && !Arc::ptr_eq(&before.access, access)
        {
            // Somebody still held an earlier form of the session. Its access counts; it queues again if used again.
            access.at.fetch_max(before.access.at().as_micros(), Ordering::SeqCst);
            before.access.queued.store(false, Ordering::SeqCst);
        }
        let full = pending.by_key.len() >= self.batch;
        if full || due.as_micros() < self.due.load(Ordering::Relaxed) {
            let due = if full { now } else { due };
            self.due.fetch_min(due.as_micros(), Ordering::Relaxed);
            self.nearer.notify_one();
        }
    }

    /// When the next flush is due.
    pub(super) fn due(&self) -> Timestamp {
        Timestamp::from_micros(self.due.load(Ordering::Relaxed))
    }

    pub(super) fn len(&self) -> usize {
        self.pending.lock().by_key.len()
    }

    /// The session is gone, and its accesses with it.
    pub(super) fn forget(&self, key: &SessionKey) {
        self.pending.lock().remove(key);
    }

    /// Tells the store of all accesses, or of those to a user's sessions. Returns how many sessions it were.
    pub(super) async fn flush(&self, backend: &Backend, user: Option<&OwnerText>) -> Result<usize, StoreError> {
        // A login, which has few to tell of, waits for no one.
        let _one_at_a_time = match user {
            None => Some(self.flushing.lock().await),
            Some(_) => None,
        };
        let keys = self.pending.lock().keys(user);
        for keys in keys.chunks(PIECE) {
            let touches: Vec<Touch> = {
                let pending = self.pending.lock();
                let touch = |key: &SessionKey| {
                    pending.by_key.get(key).map(|pending| Touch {
                        key: *key,
                        accessed_at: pending.access.at(),
                    })
                };
                keys.iter().filter_map(touch).collect()
            };
            if !touches.is_empty() {
                backend.touch(touches.clone()).await?;
                self.told(&touches, backend.now());
            }
        }
        // A background flush that finds less than it came for does no harm; to look at all of them for each login would.
        if user.is_none() {
            self.find_due();
        }
        Ok(keys.len())
    }

    fn told(&self, touches: &[Touch], now: Timestamp) {
        let mut pending = self.pending.lock();
        for Touch { key, accessed_at } in touches {
            let Some(waiting) = pending.by_key.get_mut(key) else {
                continue;
            };
            let access = &waiting.access;
            access.is_stored(*accessed_at);
            access.queued.store(false, Ordering::SeqCst);
            if access.at.load(Ordering::SeqCst) > accessed_at.as_micros() {
                access.queued.store(true, Ordering::SeqCst);
                waiting.due = Pending::due(access, waiting.idle_timeout, now, self.interval);
            } else {
                pending.remove(key);
            }
        }
    }

    fn find_due(&self) {
        let pending = self.pending.lock();
        let first = pending.by_key.values().map(|pending| pending.due).min();
        self.due
            .store(first.unwrap_or(Timestamp::MAX).as_micros(), Ordering::Relaxed);
    }
}
