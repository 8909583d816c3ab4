//! The registry of this node: from a session's id to its process.
//!
//! A [table](super::table) in shards, each behind its own lock, so that no operation stops the world: look-ups share a
//! shard's lock for a hash and a comparison; lists, sweeps and broadcasts go shard by shard.
//!
//! # Invariants
//! 1. An id has at most one entry, and an entry is found under its current id only.
//! 2. `len` is the number of entries, exactly: it changes together with a table, under that shard's lock.
//! 3. The note of an entry is never later than the tick at which its session may expire, once it has been visited
//!    after a change that brought expiry forward ([`Registry::recheck`]).
//!
//! 4. A pass meets each session that is there from its beginning to its end, whatever ids it has meanwhile: it is in its
//!    shard, or among those [`moved`](Pass::moved).
//!
//! Deadlock safety: a shard's lock is taken before any lock of a session or a limit, or that of the passes, never after. Two shards are
//! locked in the order of their index, by [`Registry::rotate`] alone. No user code runs under a shard's lock: not a
//! handler, and no drop of a process either.
//!
//! The models in `crates/models` compile this file against loom's types.

use std::sync::{Arc, Weak};

use super::{session::AnySession, table};
use crate::{
    SessionId,
    sync::{AtomicU32, AtomicUsize, Mutex, Ordering, RwLock, RwLockWriteGuard, SHARDS, Seed},
};

pub(crate) struct Registry {
    shards: Box<[Shard]>,
    hasher: Seed,
    len: AtomicUsize,
    passes: Mutex<Passes>,
}

/// Who goes through all sessions, and whom they may have missed.
#[derive(Default)]
struct Passes {
    under_way: usize,
    moved: Vec<Weak<dyn AnySession>>,
}

/// See [`Registry::pass`].
pub(crate) struct Pass<'a>(&'a Registry);

impl Pass<'_> {
    /// Sessions that may have come from a shard that was still to be seen into one that had been. To be asked at the end.
    pub(crate) fn moved(&self) -> Vec<Arc<dyn AnySession>> {
        let passes = self.0.passes.lock();
        passes.moved.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut passes = self.0.passes.lock();
        passes.under_way -= 1;
        if passes.under_way == 0 {
            passes.moved = Vec::new();
        }
    }
}

/// On a cache line of its own, so that neighbours' locks don't slow each other down.
#[repr(align(64))]
#[derive(Default)]
struct Shard {
    table: RwLock<Table>,
}

/// With each session, the [`tick`] before which the sweeper needn't look at it.
type Table = table::Table<Arc<dyn AnySession>, AtomicU32>;

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

/// When a new session is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Make {
    /// While its place in the table comes from memory; in vain, if there is one already or it isn't let in. In a big table
    /// nobody has looked at a place lately, and of the start of a million a quarter went into waiting for it.
    Ahead,
    /// When it is let in: for what costs more than that.
    LetIn,
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
            passes: Mutex::new(Passes::default()),
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
            .find(place.hash, |session| session.is(id))
            .map(|entry| look(entry.item))
    }

    /// The session with this id, or a new one, if `admit` (which must [`reserve`](Self::reserve)) lets it in.
    pub(crate) fn get_or_insert<E>(
        &self,
        id: &SessionId,
        admit: impl FnOnce() -> Result<(), E>,
        when: Make,
        make: impl FnOnce() -> Arc<dyn AnySession>,
    ) -> Insert<E> {
        let place = self.place(id);
        // Declared before the lock, so dropped after it, also where it is not needed: the user's arguments are in it.
        let made;
        let mut table = self.shards[place.shard].table.write();
        made = match when {
            Make::Ahead => {
                table.prefetch(place.hash);
                Ok(make())
            }
            Make::LetIn => Err(make),
        };
        let at = match table.search(place.hash, |session| session.is(id)) {
            Ok(at) => return Insert::Found(Arc::clone(&table[at])),
            Err(at) => at,
        };
        if let Err(refused) = admit() {
            return Insert::Refused(refused);
        }
        let session = made.unwrap_or_else(|make| make());
        let not_before = AtomicU32::new(tick(session.due_at()));
        let inserted = table.insert(at, place.hash, session, not_before);
        // Counted only now that all is written: a locked instruction waits for fresh memory that was written before it.
        Insert::Inserted(Arc::clone(inserted))
    }

    /// Removes a session under its current id. Returns whether it was the last one.
    pub(crate) fn remove(&self, session: &dyn AnySession) -> bool {
        loop {
            let id = session.id();
            let place = self.place(&id);
            let mut table = self.shards[place.shard].table.write();
            let same = |one: &Arc<dyn AnySession>| std::ptr::addr_eq(Arc::as_ptr(one), session);
            if let Ok(at) = table.search(place.hash, same) {
                let removed = table.remove(at);
                let last = self.len.fetch_sub(1, Ordering::AcqRel) == 1;
                drop(table);
                drop(removed);
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
    pub(crate) fn rotate(&self, session: &Arc<dyn AnySession>, from: &SessionId, to: &SessionId) -> Result<(), Rotate> {
        let (old, new) = (self.place(from), self.place(to));
        let mut both = self.lock_both(old.shard, new.shard);
        let target = both.table(new.shard);
        if target.search(new.hash, |session| session.is(to)).is_ok() {
            return Err(Rotate::Taken);
        }
        let source = both.table(old.shard);
        // By now another may have been started under this id, which is none of ours.
        let same = |one: &Arc<dyn AnySession>| Arc::ptr_eq(one, session) && one.is(from);
        let Ok(at) = source.search(old.hash, same) else {
            return Err(Rotate::NotStarted);
        };
        let (session, not_before) = source.remove(at);
        session.set_id(to.clone());
        // Only now: what was taken out may have moved others up.
        let target = both.table(new.shard);
        let at = target.behind(new.hash);
        let session = target.insert(at, new.hash, session, not_before);
        let mut passes = self.passes.lock();
        if passes.under_way > 0 {
            passes.moved.push(Arc::downgrade(session));
        }
        Ok(())
    }

    /// For who goes through all shards and must miss nobody: those that are given another id meanwhile are noted.
    pub(crate) fn pass(&self) -> Pass<'_> {
        self.passes.lock().under_way += 1;
        Pass(self)
    }

    /// Changes a session so that its expiry may come nearer, and has the sweeper look at it again. Under its shard's lock, so
    /// that no rotation comes in between: for what is short and takes no lock itself.
    pub(crate) fn change<T>(&self, id: &SessionId, change: impl FnOnce(&Arc<dyn AnySession>) -> T) -> Option<T> {
        let place = self.place(id);
        let table = self.shards[place.shard].table.read();
        let entry = table.find(place.hash, |session| session.is(id))?;
        let changed = change(entry.item);
        // Who reads it reads what was changed before.
        entry.note.store(0, Ordering::Release);
        Some(changed)
    }

    /// Has the sweeper look at a session again whose expiry may have come nearer.
    pub(crate) fn recheck(&self, id: &SessionId) {
        self.change(id, |_| ());
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Up to `limit` sessions of a shard whose time may be up at `now`. Each is returned once for a tick.
    pub(crate) fn due(&self, shard: usize, now: u64, limit: usize, into: &mut Vec<Arc<dyn AnySession>>) {
        let this_tick = tick(now);
        let table = self.shards[shard].table.read();
        for entry in table.iter() {
            let noted = entry.note.load(Ordering::Relaxed);
            if noted > this_tick {
                continue;
            }
            // Noted before it is looked at: whoever asks for a recheck from here on puts 0 in its place, which is seen
            // below, or at the next visit.
            let next = this_tick.saturating_add(1);
            let note = |before, after| {
                let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
                entry.note.compare_exchange(before, after, success, failure).is_ok()
            };
            if !note(noted, next) {
                continue;
            }
            let due_at = entry.item.due_at();
            if due_at > now {
                // Rounded down by `tick`, so within this very tick it is visited again: early, never late.
                note(next, tick(due_at).max(next));
                continue;
            }
            into.push(Arc::clone(entry.item));
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
            entry.item.prefetch();
        }
        let mut sessions = Vec::with_capacity(table.len());
        sessions.extend(table.iter().map(|entry| Arc::clone(entry.item)));
        sessions
    }

    /// Sessions after `cursor`, in an order that doesn't change: a session that lives throughout is listed once.
    /// At least `limit` of them, unless there are no more; a few more, where several have one hash.
    pub(crate) fn page(&self, cursor: Option<Cursor>, limit: usize) -> (Vec<Arc<dyn AnySession>>, Option<Cursor>) {
        let mut found = Vec::new();
        let first = cursor.map_or(0, |cursor| cursor.shard);
        for shard in first..self.shards.len() {
            let after = cursor.filter(|cursor| cursor.shard == shard).map(|cursor| cursor.hash);
            let table = self.shards[shard].table.read();
            let mut last = None;
            for entry in table.after(after) {
                if found.len() >= limit && last.is_some_and(|last| last != entry.hash) {
                    break;
                }
                found.push(Arc::clone(entry.item));
                last = Some(entry.hash);
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
        // Again, while a rotation that is still under way takes one to where we have been.
        while self.len() > 0 {
            for shard in &self.shards {
                let mut table = shard.table.write();
                let table = std::mem::take(&mut *table);
                self.len.fetch_sub(table.len(), Ordering::AcqRel);
                all.extend(table.into_items());
            }
        }
        all
    }

    #[inline]
    fn place(&self, id: &SessionId) -> Place {
        Place::of(self.hash(id))
    }

    /// Two shards, or one, if they are the same. The one with the lower index is locked first.
    fn lock_both(&self, a: usize, b: usize) -> Both<'_> {
        let (low, high) = (a.min(b), a.max(b));
        Both {
            low,
            first: self.shards[low].table.write(),
            second: (low != high).then(|| self.shards[high].table.write()),
        }
    }
}

struct Both<'a> {
    low: usize,
    first: RwLockWriteGuard<'a, Table>,
    second: Option<RwLockWriteGuard<'a, Table>>,
}

impl Both<'_> {
    /// That of one of the two.
    fn table(&mut self, shard: usize) -> &mut Table {
        match &mut self.second {
            Some(second) if shard != self.low => second,
            _ => &mut self.first,
        }
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
}
