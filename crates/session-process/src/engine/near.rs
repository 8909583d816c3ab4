//! The sessions that a thread has met lately: a way to them that other threads don't write to.
//!
//! The registry's look-ups share a shard's lock, and to share it is to write it: the line of the cache that it lies on
//! travels from core to core. With two threads that is a third of all that a small message takes. Here each thread has a
//! small table of its own, in a cell and not under a lock: to give that back costs an atomic exchange, a tenth of a small
//! message. Nobody tells it of ends and rotations; the sweeper clears up after those that ended.
//!
//! # Invariants
//! 1. What is found here may be out of date: the session may be closed, which is for good, or have another id. Both are
//!    looked at, so an answer is as good as the registry's; and who finds nothing asks the registry.
//! 2. No session is kept alive. What an ended one leaves behind, the bare memory of its `Arc` ([`LARGEST`] at most), goes
//!    when another takes its place, or within some sweeps ([`Near::forget_ended`]).
//! 3. A thread knows one session of a hash at most.
//!
//! Deadlock safety: a table is borrowed for a moment, in which no lock is taken and none of the user's code runs; those
//! who send a message only try to, and so does the sweeper.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use atomic_refcell::AtomicRefCell;

use super::session::{AnySession, READ_ONLY};
use crate::SessionId;

/// Sets that one thread has at most, in 1 MiB. A table grows to that as its thread meets more sessions.
const MOST: usize = 16_384;

/// The sets for the first sessions that a thread meets, and by how much they grow.
const FIRST: usize = 16;
const GROWTH: usize = 4;

/// Sessions above this, in bytes, with their process, are not noted: their memory would wait here after their end.
const LARGEST: usize = 1_024;

/// Sets of which the entries of ended sessions are cleared up in one go: some 100 microseconds.
const PART: usize = 256;

/// A line of the cache, on nearly all processors. If it is not, that costs time and nothing else.
const LINE: usize = 64;

/// Sessions of a set. As many as one line of the cache holds, so that a search waits for one. With a single one, two
/// sessions in each other's way drive each other out again and again: of 10,000, three quarters are found; with three,
/// all but one in a hundred.
const SET: usize = 3;

/// One in so many that were not found is noted. Where more sessions are in use than there is room for, to note each would
/// cost more than it brings; so it costs nothing that shows (200,000 sessions).
const NOTED: u32 = 4;

/// More places than threads, as those are numbered in the whole program and not for us. Two that share a place get in
/// each other's way: who comes second asks the registry. A place takes memory when it is first used.
const PLACES_PER_WORKER: usize = 4;

pub(super) struct Near {
    places: Box<[Place]>,
}

/// A thread's. On cache lines of its own.
#[repr(align(64))]
#[derive(Default)]
struct Place(AtomicRefCell<Known>);

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forgot {
    /// The thread is just looking itself.
    Busy,
    /// There are more parts.
    Part,
    All,
}

#[derive(Default)]
struct Known {
    /// As many as a power of two; none until something is noted.
    sets: Box<[Set]>,
    missed: u32,
    /// Since the table has had this size.
    noted: usize,
}

/// Sessions whose hashes agree in the bits that choose the set, by the upper half of them. (Two that agree in both are
/// told apart by their ids, as any that is found.)
#[repr(C, align(64))]
#[derive(Default)]
struct Set {
    tags: [u32; SET],
    /// Where their read-only parts begin, in [`UNIT`]s.
    read_only_at: [u8; SET],
    sessions: [Option<Weak<dyn AnySession>>; SET],
}

const UNIT: usize = 8;
const _: () = assert!(LARGEST / UNIT <= u8::MAX as usize + 1, "a place within a session fits");
const _: () = assert!(size_of::<Set>() == LINE, "so that a search waits for one line");

impl Near {
    /// For a runtime with so many workers. With one there is nobody to share a line of the cache with.
    pub(super) fn of(workers: usize) -> Option<Self> {
        if workers < 2 {
            return None;
        }
        let places = (workers * PLACES_PER_WORKER).next_power_of_two();
        Some(Self {
            places: std::iter::repeat_with(Place::default).take(places).collect(),
        })
    }

    /// The session with this id, if this thread has met it, and it is neither closed nor called otherwise by now.
    #[inline]
    pub(super) fn get(&self, hash: u64, id: &SessionId) -> Option<Arc<dyn AnySession>> {
        let known = self.place().0.try_borrow_mut().ok()?;
        let set = &known.sets[known.set(hash)?];
        let at = set.position(hash)?;
        let session = set.sessions[at].as_ref()?;
        set.prefetch(at, session);
        let session = session.upgrade()?;
        drop(known);
        session.is_open_as(id).then_some(session)
    }

    /// Notes a session that was not found here.
    pub(super) fn note(&self, hash: u64, session: &Arc<dyn AnySession>) {
        if size_of_val(&**session) > LARGEST {
            return;
        }
        let Ok(mut known) = self.place().0.try_borrow_mut() else {
            return;
        };
        known.missed = known.missed.wrapping_add(1);
        if !known.missed.is_multiple_of(NOTED) {
            return;
        }
        known.make_room();
        let turn = (known.missed / NOTED) as usize % SET;
        let Some(set) = known.set(hash) else { return };
        let set = &mut known.sets[set];
        let free = || set.sessions.iter().position(Option::is_none);
        let at = set.position(hash).or_else(free).unwrap_or(turn);
        set.tags[at] = tag(hash);
        set.read_only_at[at] = (session.read_only_at() / UNIT) as u8;
        let before = set.sessions[at].replace(Arc::downgrade(session));
        drop(known);
        drop(before);
    }

    /// How many threads there is a place for: a power of two, and eight at least.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Lets go of what ended sessions have left behind, in one part of what the `nth` thread knows (which asks the registry
    /// meanwhile).
    pub(super) fn forget_ended(&self, nth: usize, part: usize) -> Forgot {
        let mut ended = Vec::new();
        let mut unneeded = Known::default();
        let Ok(mut known) = self.places[nth].0.try_borrow_mut() else {
            return Forgot::Busy;
        };
        let len = known.sets.len();
        let sets = known.sets.iter_mut().skip(part * PART).take(PART);
        let sessions = sets.flat_map(|set| &mut set.sessions);
        ended.extend(sessions.filter_map(|session| session.take_if(|session| session.strong_count() == 0)));
        let more = (part + 1) * PART < len;
        if !more && known.count() * 16 < len * SET {
            // It grows again, if need be.
            std::mem::swap(&mut *known, &mut unneeded);
        }
        // Before what was taken out is dropped.
        drop(known);
        if more { Forgot::Part } else { Forgot::All }
    }

    #[inline]
    fn place(&self) -> &Place {
        &self.places[thread() & (self.places.len() - 1)]
    }
}

impl Known {
    /// The set of sessions with this hash; `None` while there are no sets at all.
    #[inline]
    fn set(&self, hash: u64) -> Option<usize> {
        Some(hash as usize & self.sets.len().checked_sub(1)?)
    }

    fn count(&self) -> usize {
        self.sets.iter().flat_map(|set| &set.sessions).flatten().count()
    }

    /// A larger table, where this one is full; what it knew has to be noted anew.
    fn make_room(&mut self) {
        let len = self.sets.len();
        self.noted += 1;
        if len == 0 || (self.noted > len * SET && len < MOST) {
            let len = (len * GROWTH).clamp(FIRST, MOST);
            self.sets = std::iter::repeat_with(Set::default).take(len).collect();
            self.noted = 0;
        }
    }
}

impl Set {
    /// Where a session with this hash lies; or an empty place.
    #[inline]
    fn position(&self, hash: u64) -> Option<usize> {
        let tag = tag(hash);
        // With no branch that depends on where it lies: a wrong guess would take longer than to look at all.
        let mut at = 0;
        for other in 1..SET {
            at = if self.tags[other] == tag { other } else { at };
        }
        (self.tags[at] == tag).then_some(at)
    }

    /// Asks for the part of a session that nobody writes, before its count is written: that is a locked instruction, and
    /// what is read after it would be waited for after it. The part that a message writes is left to who writes it: asked
    /// for to be read, it would travel between the cores once more.
    #[inline]
    fn prefetch(&self, at: usize, session: &Weak<dyn AnySession>) {
        let begin = session.as_ptr().cast::<u8>().addr() + usize::from(self.read_only_at[at]) * UNIT;
        for end in [begin, begin + READ_ONLY - 1] {
            // The hint takes any address, but the crate wants it as a place in a slice.
            const NOWHERE: &[u8] = &[];
            prefetch_index::prefetch_index(NOWHERE, end.wrapping_sub(NOWHERE.as_ptr().addr()));
        }
    }
}

/// The half of a hash that doesn't choose the set.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The number of this thread.
#[inline]
fn thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndReason, Process, Sessions, engine::Leftover};

    #[derive(Default)]
    struct Page;

    impl Process for Page {}

    fn near() -> Near {
        Near::of(2).expect("two threads have something to gain")
    }

    /// A session, and its hash.
    async fn started(sessions: &Sessions<Page>, id: &SessionId) -> (u64, Arc<dyn AnySession>) {
        sessions.start(id).await.unwrap();
        let registry = &sessions.engine().registry;
        (registry.hash(id), registry.get(id).expect("just started"))
    }

    /// Until one of them is noted.
    fn note(near: &Near, hash: u64, session: &Arc<dyn AnySession>) {
        for _ in 0..NOTED {
            near.note(hash, session);
        }
    }

    /// Notes so many, each in its turn, under hashes without a pattern (the end of splitmix64).
    fn note_many(near: &Near, many: u32, session: &Arc<dyn AnySession>) {
        for nth in 0..u64::from(many) {
            let hash = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            near.note(hash ^ (hash >> 31), session);
        }
    }

    fn known(near: &Near) -> usize {
        near.places.iter().map(|place| place.0.borrow().count()).sum()
    }

    #[test]
    fn one_thread_needs_none() {
        assert!(Near::of(1).is_none());
    }

    #[tokio::test]
    async fn who_is_noted_is_found_by_its_id_alone() {
        let (sessions, near) = (Sessions::builder().build().unwrap(), near());
        let (id, other) = (SessionId::generate(), SessionId::generate());
        let (hash, session) = started(&sessions, &id).await;
        assert!(near.get(hash, &id).is_none());
        note(&near, hash, &session);
        assert!(Arc::ptr_eq(&near.get(hash, &id).expect("noted"), &session));
        assert!(near.get(hash, &other).is_none(), "a hash is no id");
    }

    #[tokio::test]
    async fn who_is_closed_or_renamed_is_not_found() {
        let (sessions, near) = (Sessions::builder().build().unwrap(), near());
        let (id, new) = (SessionId::generate(), SessionId::generate());
        let (hash, session) = started(&sessions, &id).await;
        note(&near, hash, &session);
        sessions.rotate_to(&id, &new).await.unwrap();
        assert!(near.get(hash, &id).is_none());

        let hash = sessions.engine().registry.hash(&new);
        note(&near, hash, &session);
        assert!(near.get(hash, &new).is_some());
        Arc::clone(&session).end(EndReason::Terminated, Leftover::Refuse);
        assert!(near.get(hash, &new).is_none());
    }

    #[tokio::test]
    async fn nobody_is_kept_alive() {
        let (sessions, near) = (Sessions::builder().build().unwrap(), near());
        let id = SessionId::generate();
        let (hash, session) = started(&sessions, &id).await;
        note(&near, hash, &session);
        sessions.terminate(&id).await.unwrap();
        let session = Arc::downgrade(&{ session });
        assert!(session.upgrade().is_none());
        assert_eq!(known(&near), 1);
        for place in 0..near.places() {
            assert_eq!(near.forget_ended(place, 0), Forgot::All, "one part");
        }
        assert_eq!(known(&near), 0);
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_no_more() {
        let (sessions, near) = (Sessions::<Page>::builder().build().unwrap(), near());
        let (_, session) = started(&sessions, &SessionId::generate()).await;
        note_many(&near, 200_000, &session);
        assert!(known(&near) <= MOST * SET);
        assert!(known(&near) > MOST * SET / 2, "and for as many");
    }

    /// The old one lives on under another id, and would be found first.
    #[tokio::test]
    async fn the_next_session_of_an_id_takes_the_place_of_one_that_was_renamed() {
        let (sessions, near) = (Sessions::builder().build().unwrap(), near());
        let id = SessionId::generate();
        let (hash, renamed) = started(&sessions, &id).await;
        note(&near, hash, &renamed);
        sessions.rotate(&id).await.unwrap();
        let (hash, session) = started(&sessions, &id).await;
        note(&near, hash, &session);
        assert!(Arc::ptr_eq(&near.get(hash, &id).expect("noted"), &session));
        assert_eq!(known(&near), 1);
    }

    #[tokio::test]
    async fn a_large_one_is_not_noted() {
        struct Large(#[expect(dead_code)] [u8; LARGEST]);
        impl Default for Large {
            fn default() -> Self {
                Self([0; LARGEST])
            }
        }
        impl Process for Large {}
        let (sessions, near) = (Sessions::<Large>::builder().build().unwrap(), near());
        let id = SessionId::generate();
        sessions.start(&id).await.unwrap();
        let session = sessions.engine().registry.get(&id).unwrap();
        note(&near, 1, &session);
        assert_eq!(known(&near), 0);
    }

    #[tokio::test]
    async fn a_table_that_is_hardly_needed_any_more_is_given_back() {
        let (sessions, near) = (Sessions::<Page>::builder().build().unwrap(), near());
        let (_, session) = started(&sessions, &SessionId::generate()).await;
        note_many(&near, 20_000, &session);
        drop(sessions);
        let ended = Arc::downgrade(&session);
        drop(session);
        assert!(ended.upgrade().is_none());
        for place in 0..near.places() {
            (0..).find(|part| near.forget_ended(place, *part) == Forgot::All);
        }
        assert!(near.places.iter().all(|place| place.0.borrow().sets.is_empty()));
    }

    /// Says whether it is asked for the first time.
    #[derive(Default)]
    struct Once(bool);

    impl Process for Once {}

    struct First;

    impl crate::Handle<First> for Once {
        type Reply = bool;
        async fn handle(&mut self, _: First, _: &mut crate::Context<Self>) -> bool {
            !std::mem::replace(&mut self.0, true)
        }
    }

    /// Calls `id` from all threads. How many were answered, and how many of those were the first.
    async fn call_from_all(sessions: &Sessions<Once>, id: &SessionId) -> (usize, usize) {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (sessions, id) = (sessions.clone(), id.clone());
                tokio::spawn(async move { sessions.call(&id, First).await.ok() })
            })
            .collect();
        let (mut answered, mut firsts) = (0, 0);
        for caller in callers {
            if let Some(first) = caller.await.unwrap() {
                answered += 1;
                firsts += usize::from(first);
            }
        }
        (answered, firsts)
    }

    /// Through all layers, on threads that each know the session before.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_never_goes_to_the_session_before_of_the_same_id() {
        let sessions = Sessions::<Once>::builder().build().unwrap();
        let id = SessionId::generate();
        for _ in 0..200 {
            sessions.start(&id).await.unwrap();
            assert_eq!(call_from_all(&sessions, &id).await, (8, 1));
            sessions.terminate(&id).await.unwrap();
        }
    }

    /// The same for one that lives on under another id, and later has its first one again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_message_never_goes_to_a_session_by_an_id_that_it_had() {
        let sessions = Sessions::<Once>::builder().build().unwrap();
        let (id, other) = (SessionId::generate(), SessionId::generate());
        for _ in 0..200 {
            sessions.start(&id).await.unwrap();
            assert_eq!(call_from_all(&sessions, &id).await, (8, 1));
            sessions.rotate_to(&id, &other).await.unwrap();
            assert_eq!(call_from_all(&sessions, &id).await, (0, 0));
            assert_eq!(call_from_all(&sessions, &other).await, (8, 0), "it is still the same");
            sessions.rotate_to(&other, &id).await.unwrap();
            assert_eq!(call_from_all(&sessions, &other).await, (0, 0));
            assert_eq!(call_from_all(&sessions, &id).await, (8, 0));
            sessions.terminate(&id).await.unwrap();
        }
    }
}
