//! The registry of this node: from a session's id to its process.
//!
//! A table in shards, each behind its own lock, so that no operation stops the world: look-ups share a shard's lock
//! for a hash and a comparison; lists, sweeps and broadcasts go shard by shard.
//!
//! # Invariants
//! 1. An id has at most one entry, and an entry is found under its current id only.
//! 2. `len` is the number of entries, exactly: it changes together with a table, under that shard's lock.
//! 3. An entry's `not_before` is never later than the tick at which its session may expire, once it has been visited
//!    after a change that brought expiry forward ([`Registry::recheck`]).
//!
//! Deadlock safety: a shard's lock is taken before any lock of a session or a limit, never after. Two shards are
//! locked in the order of their index, by [`Registry::rotate`] alone. No user code runs under a shard's lock: not a
//! handler, and no drop of a process either.
//!
//! The models in `crates/models` compile this file against loom's types.

use std::sync::Arc;

use hashbrown::HashTable;

use super::session::AnySession;
use crate::{
    SessionId,
    sync::{AtomicU32, AtomicUsize, Ordering, RwLock, RwLockWriteGuard, SHARDS, Seed},
};

pub(crate) struct Registry {
    shards: Box<[Shard]>,
    hasher: Seed,
    len: AtomicUsize,
}

/// On a cache line of its own, so that neighbours' locks don't slow each other down.
#[repr(align(64))]
#[derive(Default)]
struct Shard {
    table: RwLock<HashTable<Entry>>,
}

struct Entry {
    session: Arc<dyn AnySession>,
    hash: u32,
    /// The sweeper needn't look at the session before this [`tick`].
    not_before: AtomicU32,
}

#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    hash: u32,
}

/// Where a page of a list ended, to go on from there. Opaque.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    hash: u32,
}

pub(crate) enum Insert<E> {
    Inserted(Arc<dyn AnySession>),
    Found(Arc<dyn AnySession>),
    Refused(E),
}

/// Ticks of the sweeper: quarters of a second, which a `u32` counts for 34 years.
pub(crate) fn tick(nanos: u64) -> u32 {
    u32::try_from(nanos / 250_000_000).unwrap_or(u32::MAX)
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            hasher: Seed::default(),
            len: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Takes one of `max` places, for an entry that is about to be inserted under the shard's lock.
    pub(crate) fn reserve(&self, max: usize) -> bool {
        self.len
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |len| (len < max).then(|| len + 1))
            .is_ok()
    }

    #[inline]
    pub(crate) fn get(&self, id: &SessionId) -> Option<Arc<dyn AnySession>> {
        self.with(id, Arc::clone)
    }

    /// The hash of an id, for whoever else keeps sessions by it.
    #[inline]
    pub(crate) fn hash(&self, id: &SessionId) -> u64 {
        id.hash_by(&self.hasher)
    }

    /// The session with this id, whose hash is known.
    #[inline]
    pub(crate) fn get_by(&self, hash: u64, id: &SessionId) -> Option<Arc<dyn AnySession>> {
        self.with_at(Place::of(hash), id, Arc::clone)
    }

    /// Looks at a session under its shard's lock: for what is short and takes no lock itself.
    #[inline]
    pub(crate) fn with<T>(&self, id: &SessionId, look: impl FnOnce(&Arc<dyn AnySession>) -> T) -> Option<T> {
        self.with_at(self.place(id), id, look)
    }

    #[inline]
    fn with_at<T>(&self, place: Place, id: &SessionId, look: impl FnOnce(&Arc<dyn AnySession>) -> T) -> Option<T> {
        let table = self.shards[place.shard].table.read();
        table
            .find(place.full(), |entry| entry.is(place, id))
            .map(|entry| look(&entry.session))
    }

    /// The session with this id, or a new one, if `admit` (which must [`reserve`](Self::reserve)) lets it in.
    pub(crate) fn get_or_insert<E>(
        &self,
        id: &SessionId,
        admit: impl FnOnce() -> Result<(), E>,
        make: impl FnOnce() -> Arc<dyn AnySession>,
    ) -> Insert<E> {
        let place = self.place(id);
        let mut table = self.shards[place.shard].table.write();
        if let Some(entry) = table.find(place.full(), |entry| entry.is(place, id)) {
            return Insert::Found(Arc::clone(&entry.session));
        }
        if let Err(refused) = admit() {
            return Insert::Refused(refused);
        }
        let session = make();
        let entry = Entry {
            not_before: AtomicU32::new(tick(session.due_at())),
            session,
            hash: place.hash,
        };
        let entry = table.insert_unique(place.full(), entry, Entry::full_hash).into_mut();
        // Counted only now: what was written to fresh memory, here and in `make`, is on its way to the cache together, and
        // a locked instruction waits for all of it. One between the two would wait for each.
        Insert::Inserted(Arc::clone(&entry.session))
    }

    /// Removes a session under its current id. Returns whether it was the last one.
    pub(crate) fn remove(&self, session: &dyn AnySession) -> bool {
        loop {
            let id = session.id();
            let place = self.place(&id);
            let mut table = self.shards[place.shard].table.write();
            let same = |entry: &Entry| std::ptr::addr_eq(Arc::as_ptr(&entry.session), session);
            if let Ok(found) = table.find_entry(place.full(), same) {
                let (entry, _) = found.remove();
                shrink(&mut table);
                let last = self.len.fetch_sub(1, Ordering::AcqRel) == 1;
                drop(table);
                drop(entry);
                return last;
            }
            drop(table);
            // Rotated between the two steps: its id is another one by now. Otherwise it isn't there any more.
            if session.id() == id {
                return false;
            }
        }
    }

    /// Moves a session to another id in one step.
    pub(crate) fn rotate(&self, from: &SessionId, to: &SessionId) -> Result<Arc<dyn AnySession>, Rotate> {
        let (old, new) = (self.place(from), self.place(to));
        let (mut low, mut high) = self.lock_both(old.shard, new.shard);
        let is_low = |place: Place| place.shard <= old.shard.min(new.shard);
        let target = if is_low(new) {
            &mut low
        } else {
            high.as_mut().expect("two shards")
        };
        if target.find(new.full(), |entry| entry.is(new, to)).is_some() {
            return Err(Rotate::Taken);
        }
        let source = if is_low(old) {
            &mut low
        } else {
            high.as_mut().expect("two shards")
        };
        let Ok(found) = source.find_entry(old.full(), |entry| entry.is(old, from)) else {
            return Err(Rotate::NotStarted);
        };
        let (mut entry, _) = found.remove();
        entry.hash = new.hash;
        let session = Arc::clone(&entry.session);
        session.set_id(to.clone());
        let target = if is_low(new) {
            &mut low
        } else {
            high.as_mut().expect("two shards")
        };
        target.insert_unique(new.full(), entry, Entry::full_hash);
        Ok(session)
    }

    /// Has the sweeper look at a session again whose expiry may have come nearer.
    pub(crate) fn recheck(&self, id: &SessionId) {
        let place = self.place(id);
        let table = self.shards[place.shard].table.read();
        if let Some(entry) = table.find(place.full(), |entry| entry.is(place, id)) {
            entry.not_before.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Up to `limit` sessions of a shard whose time may be up at `now`. Each is returned once for a tick.
    pub(crate) fn due(&self, shard: usize, now: u64, limit: usize, into: &mut Vec<Arc<dyn AnySession>>) {
        let this_tick = tick(now);
        let table = self.shards[shard].table.read();
        for entry in table.iter() {
            let not_before = entry.not_before.load(Ordering::Relaxed);
            if not_before > this_tick {
                continue;
            }
            // Only if nobody has asked for a recheck meanwhile: that would be lost.
            let postpone = |tick| {
                let exchange =
                    entry
                        .not_before
                        .compare_exchange(not_before, tick, Ordering::Relaxed, Ordering::Relaxed);
                let _ = exchange;
            };
            let due_at = entry.session.due_at();
            if due_at > now {
                // Rounded down by `tick`, so within this very tick it is visited again: early, never late.
                postpone(tick(due_at).max(this_tick + 1));
                continue;
            }
            postpone(this_tick + 1);
            into.push(Arc::clone(&entry.session));
            if into.len() >= limit {
                return;
            }
        }
    }

    /// The sessions of one shard, for one who now goes through them. They are fetched from memory all at the same time:
    /// one after the other, each with its locked instructions, takes almost twice as long as all that is done with them.
    pub(crate) fn collect(&self, shard: usize) -> Vec<Arc<dyn AnySession>> {
        let table = self.shards[shard].table.read();
        for entry in table.iter() {
            entry.session.prefetch();
        }
        table.iter().map(|entry| Arc::clone(&entry.session)).collect()
    }

    /// Sessions after `cursor`, in an order that doesn't change: a session that lives throughout is listed once.
    /// At least `limit` of them, unless there are no more; a few more, where several have one hash.
    pub(crate) fn page(&self, cursor: Option<Cursor>, limit: usize) -> (Vec<Arc<dyn AnySession>>, Option<Cursor>) {
        let mut found = Vec::new();
        let first = cursor.map_or(0, |cursor| cursor.shard);
        for shard in first..self.shards.len() {
            let after = cursor.filter(|cursor| cursor.shard == shard).map(|cursor| cursor.hash);
            let mut entries: Vec<(u32, Arc<dyn AnySession>)> = {
                let table = self.shards[shard].table.read();
                table
                    .iter()
                    .filter(|entry| after.is_none_or(|after| entry.hash > after))
                    .map(|entry| (entry.hash, Arc::clone(&entry.session)))
                    .collect()
            };
            entries.sort_unstable_by_key(|(hash, _)| *hash);
            let mut last = None;
            for (hash, session) in entries {
                if found.len() >= limit && last.is_some_and(|last| last != hash) {
                    break;
                }
                found.push(session);
                last = Some(hash);
            }
            if found.len() >= limit {
                let hash = last.or(after).unwrap_or(u32::MAX);
                return (found, Some(Cursor { shard, hash }));
            }
        }
        (found, None)
    }

    /// Takes everything out, without a word to anybody: the engine is being dropped.
    pub(crate) fn clear(&self) -> Vec<Arc<dyn AnySession>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let table = std::mem::take(&mut *shard.table.write());
            self.len.fetch_sub(table.len(), Ordering::AcqRel);
            all.extend(table.into_iter().map(|entry| entry.session));
        }
        all
    }

    #[inline]
    fn place(&self, id: &SessionId) -> Place {
        Place::of(self.hash(id))
    }

    /// Both shards, the one with the lower index first; one, if they are the same.
    fn lock_both(&self, a: usize, b: usize) -> (Table<'_>, Option<Table<'_>>) {
        let (low, high) = (a.min(b), a.max(b));
        let first = self.shards[low].table.write();
        let second = (low != high).then(|| self.shards[high].table.write());
        (first, second)
    }
}

type Table<'a> = RwLockWriteGuard<'a, HashTable<Entry>>;

/// Gives memory back after a crowd has left, in the shard where it left.
fn shrink(table: &mut HashTable<Entry>) {
    if table.capacity() > 64 && table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2, Entry::full_hash);
    }
}

pub(crate) enum Rotate {
    NotStarted,
    Taken,
}

impl Place {
    #[inline]
    fn of(hash: u64) -> Self {
        Self {
            shard: (hash >> 32) as usize % SHARDS,
            hash: hash as u32,
        }
    }

    /// The table takes its position from the low bits and its tag from the highest seven.
    fn full(self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

impl Entry {
    fn is(&self, place: Place, id: &SessionId) -> bool {
        self.hash == place.hash && self.session.is(id)
    }

    fn full_hash(entry: &Self) -> u64 {
        Place {
            shard: 0,
            hash: entry.hash,
        }
        .full()
    }
}
