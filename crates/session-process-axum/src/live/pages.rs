//! [`Pages`]: the open pages of all sessions, with who is there, limits, and the way to push to them.
//!
//! # Invariants
//! 1. A session that nobody has open, and that nobody has had open for a while, is not in here.
//! 2. The lock is held for look-ups: nothing is woken or dropped under it. Nor encoded, but events for other nodes, whose
//!    order is that of the pushes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::Serialize;
use serde_json::Value;
use session_process::{SessionId, records::SessionRecords, store::SessionKey};
use slab::Slab;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    frame::Frame,
    hub::{End, Hub, random},
    limits::{ACTIVE_EVERY, Limits},
    nodes::{Others, PushError, Reach, To},
    stream::{Held, watch},
};

/// The open pages of this program: who is there, and the way to push to them. Cheap to clone.
///
/// It holds no [`Sessions`](session_process::Sessions), so a process may hold it: give it to
/// [`Builder::extension`](session_process::Builder::extension) and to [`Live::with_pages`](super::Live::with_pages).
///
/// An event is told at most once, to the pages that are open now; what must not be lost belongs into the state. Those of
/// other nodes are told too after [`join`](Self::join); before that, and of a store that knows no other nodes, only those
/// of this one.
///
/// ```
/// # use session_process::SessionId;
/// # use session_process_axum::live::{Pages, PushError};
/// # fn f(pages: Pages, id: SessionId) -> Result<(), PushError> {
/// pages.push(&id, "saved", &"draft 7")?;            // to all pages of a session
/// pages.push_to_user("alice", "mail", &3)?;         // to all sessions of a user
/// pages.push_to_all("closing", &"in an hour")?;
/// let there = pages.open(&id) > 0;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Pages(Arc<Mutex<Index>>);

/// For hubs, which `Pages` holds.
#[derive(Clone, Default)]
pub(super) struct WeakPages(Weak<Mutex<Index>>);

impl WeakPages {
    pub(super) fn upgrade(&self) -> Option<Pages> {
        self.0.upgrade().map(Pages)
    }
}

#[derive(Default)]
struct Index {
    sessions: HashMap<SessionId, Entry>,
    users: HashMap<Arc<str>, HashSet<SessionId>>,
    count: Count,
    /// Pages that are read as streams.
    streams: Slab<Weak<Held>>,
    /// Who looks at them; `None`: nobody does.
    watched: Option<Watched>,
    /// Sessions that nobody has open, and when that is to be forgotten.
    lapsing: VecDeque<(Instant, SessionId)>,
    /// Entries so far, which numbers them.
    made: u64,
    closing: bool,
    /// Where pages of other nodes are told as well.
    others: Option<Others>,
    /// What this node is called there, once it has been.
    node: Option<u64>,
    /// And how those call the sessions here.
    keys: HashMap<SessionKey, SessionId>,
}

struct Watched {
    every: Duration,
    task: AbortHandle,
}

struct Entry {
    /// Tells it from an earlier one of the same session.
    number: u64,
    hubs: Vec<Arc<Hub>>,
    count: Count,
    user: Option<Arc<str>>,
    rate: Arc<DefaultDirectRateLimiter>,
    active_at: Option<Instant>,
    /// Since when nobody has it open.
    left_at: Instant,
}

/// Connections of pages.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    open: usize,
    /// Whose page is closed because its reader was stuck. They take up a place until the server lets go of them, or
    /// whoever is stuck on purpose would have as many as he likes.
    cut: usize,
}

impl Count {
    fn all(self) -> usize {
        self.open + self.cut
    }
}

/// Why a page can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Session,
    User,
    All,
    Closing,
    /// The hub was given up just now: another is there.
    Lapsed,
}

impl Refused {
    /// The limit that it was, in a word for events.
    pub(super) fn limit(self) -> Option<&'static str> {
        match self {
            Self::Session => Some("session"),
            Self::User => Some("user"),
            Self::All => Some("all"),
            Self::Closing | Self::Lapsed => None,
        }
    }
}

impl Pages {
    /// Without pages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on tells the pages of all nodes on the store of these records, and is told by them. Says whether the store
    /// can do that: PostgreSQL can, where it listens (the default). It listens when this returns.
    ///
    /// Each node calls this once, for the one `Pages` that all its pages share; a second time does nothing. With records of
    /// another store, it leaves the nodes on the first one. When the store is closed, or the runtime of this call is gone,
    /// that is logged; from then on only the pages of this node are told, until it joins again.
    ///
    /// Events then have 7,900 bytes of JSON at most, with some 130 for whom and from whom they are
    /// ([`PushError::TooLarge`]), as PostgreSQL passes on no more at a time. The events of one node come in their order,
    /// between those of different nodes there is none; an event for a node that does not hear the database at that moment
    /// is lost.
    ///
    /// They pass through the database without being kept there, and without session ids. Any role that may connect to that
    /// database can hear them, **and send its own** to the pages of everybody: PostgreSQL has no rights on notifications.
    /// So let only those connect whom you would let push, and let pages take the data of events as input, never as HTML.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn join(&self, records: &SessionRecords) -> Reach {
        self.part_if_gone();
        let mut index = self.lock();
        if index
            .others
            .as_ref()
            .is_some_and(|others| others.are_on(records.store()))
        {
            return Reach::AllNodes;
        }
        let node = *index.node.get_or_insert_with(random);
        let others = Others::join(self.downgrade(), node, records);
        let reach = match others {
            Some(_) => Reach::AllNodes,
            None => Reach::ThisNode,
        };
        let before = index.part();
        index.meet(others);
        drop(index);
        drop(before);
        reach
    }

    /// Forgets the other nodes if nothing goes to them any more, so that [`join`](Self::join) can join them again.
    pub(super) fn part_if_gone(&self) {
        let (gone, closing) = {
            let mut index = self.lock();
            let are_gone = index.others.as_ref().is_some_and(Others::are_gone);
            (if are_gone { index.part() } else { None }, index.closing)
        };
        // A program that ends may close its store.
        if gone.is_some() && !closing {
            tracing::warn!(
                "events go to the pages of this node only: the store is closed, or the runtime of `join` gone"
            );
        }
    }

    /// Tells all pages of a session something. Returns how many there are on this node.
    ///
    /// # Errors
    /// [`PushError`]: nobody was told.
    pub fn push(&self, id: &SessionId, name: &str, data: &impl Serialize) -> Result<usize, PushError> {
        self.tell(
            || To::Session(SessionKey::of(id)),
            name,
            data,
            |index| {
                index
                    .sessions
                    .get(id)
                    .map(|entry| entry.hubs.clone())
                    .unwrap_or_default()
            },
        )
    }

    /// Tells all pages of a user's sessions something: of those that [`Live::with_user`](super::Live::with_user) finds
    /// to be theirs. Returns how many there are on this node.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_to_user(&self, user: &str, name: &str, data: &impl Serialize) -> Result<usize, PushError> {
        self.tell(
            || To::User(user.to_owned()),
            name,
            data,
            |index| index.hubs_of_user(user),
        )
    }

    /// Tells all pages of all sessions something. Returns how many there are on this node.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_to_all(&self, name: &str, data: &impl Serialize) -> Result<usize, PushError> {
        self.tell(|| To::All, name, data, Index::all_hubs)
    }

    fn tell(
        &self,
        to: impl FnOnce() -> To,
        name: &str,
        data: &impl Serialize,
        hubs: impl FnOnce(&Index) -> Vec<Arc<Hub>>,
    ) -> Result<usize, PushError> {
        let data = serde_json::to_value(data)?;
        self.part_if_gone();
        let hubs = {
            let mut index = self.lock();
            // Under the lock, so that the others are told in the order in which it was pushed.
            if let Some(others) = &mut index.others {
                others.take(to(), name, &data)?;
            }
            hubs(&index)
        };
        Ok(tell(hubs, name, &data))
    }

    /// Another node's event.
    pub(super) fn tell_here(&self, to: &To, name: &str, data: &Value) {
        let hubs = {
            let index = self.lock();
            match to {
                To::Session(key) => {
                    let entry = index.keys.get(key).and_then(|id| index.sessions.get(id));
                    entry.map(|entry| entry.hubs.clone()).unwrap_or_default()
                }
                To::User(user) => index.hubs_of_user(user),
                To::All => index.all_hubs(),
            }
        };
        tell(hubs, name, data);
    }

    /// How many pages a session has open on this node.
    #[must_use]
    pub fn open(&self, id: &SessionId) -> usize {
        self.lock().sessions.get(id).map_or(0, |entry| entry.count.open)
    }

    /// How many pages a user has open on this node, in all sessions.
    #[must_use]
    pub fn open_of_user(&self, user: &str) -> usize {
        self.lock().of_user(user).map(|count| count.open).sum()
    }

    /// How many pages are open on this node.
    #[must_use]
    pub fn open_in_all(&self) -> usize {
        self.lock().count.open
    }

    /// Closes all pages and takes no more: for a graceful shutdown, which an open page would hold up. They are told to
    /// connect again, in a moment and not all at once.
    pub fn close(&self) {
        let hubs: Vec<Arc<Hub>> = {
            let mut index = self.lock();
            index.closing = true;
            let entries = std::mem::take(&mut index.sessions);
            index.users.clear();
            index.keys.clear();
            index.lapsing.clear();
            entries.into_values().flat_map(|entry| entry.hubs).collect()
        };
        for hub in hubs {
            hub.finish(End::Closing);
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    pub(super) fn downgrade(&self) -> WeakPages {
        WeakPages(Arc::downgrade(&self.0))
    }

    /// The hub of a session, new or as it is.
    pub(super) fn hub(&self, id: &SessionId, live: u64, limits: &Limits) -> Arc<Hub> {
        let lapsed = self.lock().take_lapsed(limits.resume);
        drop(lapsed);
        let mut index = self.lock();
        let weak = self.downgrade();
        let entry = index.entry(id, limits);
        let known = entry.hubs.iter().find(|hub| hub.live == live && !hub.is_done());
        if let Some(hub) = known {
            return Arc::clone(hub);
        }
        let hub = Hub::new(id.clone(), live, weak);
        entry.hubs.push(Arc::clone(&hub));
        if entry.count.all() == 0 {
            // In case nobody sits down.
            index.lapsing.push_back((Instant::now() + limits.resume, id.clone()));
        }
        hub
    }

    /// A page sits down.
    pub(super) fn enter(&self, hub: &Arc<Hub>, limits: &Limits) -> Result<Open, Refused> {
        let mut index = self.lock();
        if index.closing {
            return Err(Refused::Closing);
        }
        if index.count.all() >= limits.pages {
            return Err(Refused::All);
        }
        let entry = index.entry(&hub.id, limits);
        if !entry.hubs.iter().any(|known| Arc::ptr_eq(known, hub)) {
            return Err(Refused::Lapsed);
        }
        if entry.count.all() >= limits.pages_of_session {
            return Err(Refused::Session);
        }
        if let Some(user) = entry.user.clone()
            && index.of_user(&user).map(Count::all).sum::<usize>() >= limits.pages_of_user
        {
            return Err(Refused::User);
        }
        let entry = index.entry(&hub.id, limits);
        entry.count.open += 1;
        let number = entry.number;
        index.count.open += 1;
        Ok(Open {
            pages: self.clone(),
            id: hub.id.clone(),
            number,
            resume: limits.resume,
            look_every: limits.write_timeout / 4,
            stream: None,
            is_cut: false,
        })
    }

    /// Some of the streams, and where to go on; `None` after the last.
    pub(super) fn streams(&self, from: usize, count: usize) -> Option<(Vec<Arc<Held>>, usize)> {
        let index = self.lock();
        // Not `len`: there are gaps.
        let end = index.streams.capacity();
        let to = end.min(from + count);
        let held = (from..to).filter_map(|key| index.streams.get(key)?.upgrade());
        (from < end).then(|| (held.collect(), to))
    }

    /// Whether nobody has to look any more.
    pub(super) fn unwatch_if_none(&self) -> bool {
        let mut index = self.lock();
        let none = index.streams.is_empty();
        if none {
            index.watched = None;
            index.streams = Slab::new();
        }
        none
    }

    /// The session is this user's.
    pub(super) fn set_user(&self, id: &SessionId, user: Option<&str>) {
        let mut index = self.lock();
        let Index { sessions, users, .. } = &mut *index;
        let Some(entry) = sessions.get_mut(id) else { return };
        if entry.user.as_deref() == user {
            return;
        }
        if let Some(before) = entry.user.take() {
            forget_user(users, &before, id);
        }
        if let Some(user) = user {
            let user: Arc<str> = user.into();
            users.entry(Arc::clone(&user)).or_default().insert(id.clone());
            entry.user = Some(user);
        }
    }

    /// The hub has ended.
    pub(super) fn forget(&self, hub: &Hub) {
        let forgotten = {
            let mut index = self.lock();
            let Some(entry) = index.sessions.get_mut(&hub.id) else {
                return;
            };
            entry.hubs.retain(|known| !std::ptr::eq(&raw const **known, hub));
            let last = entry.hubs.is_empty();
            if last { index.remove(&hub.id) } else { None }
        };
        drop(forgotten);
    }

    /// Whether a session's pages may send one more frame.
    pub(super) fn admit_frame(&self, id: &SessionId, limits: &Limits) -> bool {
        let rate = {
            let mut index = self.lock();
            let is_new = !index.sessions.contains_key(id);
            if is_new {
                let lapsed = index.take_lapsed(limits.resume);
                index.lapsing.push_back((Instant::now() + limits.resume, id.clone()));
                drop(lapsed);
            }
            Arc::clone(&index.entry(id, limits).rate)
        };
        rate.check().is_ok()
    }

    /// Whether `active` counts now.
    pub(super) fn admit_active(&self, id: &SessionId, limits: &Limits) -> bool {
        let mut index = self.lock();
        let entry = index.entry(id, limits);
        let now = Instant::now();
        let counts = entry.active_at.is_none_or(|at| now - at >= ACTIVE_EVERY);
        if counts {
            entry.active_at = Some(now);
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn entry(&mut self, id: &SessionId, limits: &Limits) -> &mut Entry {
        let (made, keys, joined) = (&mut self.made, &mut self.keys, self.others.is_some());
        self.sessions.entry(id.clone()).or_insert_with(|| {
            *made += 1;
            if joined {
                keys.insert(SessionKey::of(id), id.clone());
            }
            let burst = limits
                .frames_per_second
                .saturating_mul(NonZeroU32::MIN.saturating_add(1));
            let quota = Quota::per_second(limits.frames_per_second).allow_burst(burst);
            Entry {
                number: *made,
                hubs: Vec::new(),
                count: Count::default(),
                user: None,
                rate: Arc::new(RateLimiter::direct(quota)),
                active_at: None,
                left_at: Instant::now(),
            }
        })
    }

    fn meet(&mut self, others: Option<Others>) {
        if others.is_some() {
            let ids = self.sessions.keys();
            self.keys = ids.map(|id| (SessionKey::of(id), id.clone())).collect();
        }
        self.others = others;
    }

    /// To be dropped without the lock.
    fn part(&mut self) -> Option<Others> {
        self.keys = HashMap::new();
        self.others.take()
    }

    fn hubs_of_user(&self, user: &str) -> Vec<Arc<Hub>> {
        let ids = self.users.get(user).into_iter().flatten();
        let entries = ids.filter_map(|id| self.sessions.get(id));
        entries.flat_map(|entry| entry.hubs.iter().cloned()).collect()
    }

    fn all_hubs(&self) -> Vec<Arc<Hub>> {
        let entries = self.sessions.values();
        entries.flat_map(|entry| entry.hubs.iter().cloned()).collect()
    }

    fn of_user(&self, user: &str) -> impl Iterator<Item = Count> {
        let ids = self.users.get(user).into_iter().flatten();
        ids.filter_map(|id| self.sessions.get(id)).map(|entry| entry.count)
    }

    fn remove(&mut self, id: &SessionId) -> Option<Entry> {
        let entry = self.sessions.remove(id)?;
        if let Some(user) = &entry.user {
            forget_user(&mut self.users, user, id);
        }
        if self.others.is_some() {
            self.keys.remove(&SessionKey::of(id));
        }
        Some(entry)
    }

    /// Those that nobody has come back to. To be dropped without the lock.
    fn take_lapsed(&mut self, resume: Duration) -> Vec<Entry> {
        let now = Instant::now();
        let mut lapsed = Vec::new();
        while let Some((at, _)) = self.lapsing.front()
            && *at <= now
        {
            let Some((_, id)) = self.lapsing.pop_front() else { break };
            let is_left = |entry: &Entry| entry.count.all() == 0 && now - entry.left_at >= resume;
            if self.sessions.get(&id).is_some_and(is_left)
                && let Some(entry) = self.remove(&id)
            {
                entry.hubs.iter().for_each(|hub| hub.abandon());
                lapsed.push(entry);
            }
        }
        lapsed
    }
}

fn forget_user(users: &mut HashMap<Arc<str>, HashSet<SessionId>>, user: &str, id: &SessionId) {
    if let Some(ids) = users.get_mut(user) {
        ids.remove(id);
        if ids.is_empty() {
            users.remove(user);
        }
    }
}

fn tell(hubs: Vec<Arc<Hub>>, name: &str, data: &Value) -> usize {
    let event = Frame::event(name, data);
    hubs.into_iter().map(|hub| hub.tell(event.clone())).sum()
}

/// An open page, as it is counted.
pub(super) struct Open {
    pages: Pages,
    id: SessionId,
    number: u64,
    resume: Duration,
    look_every: Duration,
    /// Its place among the streams.
    stream: Option<usize>,
    is_cut: bool,
}

impl Open {
    /// It is read as a stream: somebody looks whether it is, as often as the least write timeout asks for.
    pub(super) fn watched(mut self, held: Weak<Held>) -> Self {
        let (weak, every) = (self.pages.downgrade(), self.look_every);
        let mut index = self.pages.lock();
        self.stream = Some(index.streams.insert(held));
        // A task ends with its runtime, which need not be that of all pages.
        let watched = index.watched.as_ref().filter(|watched| !watched.task.is_finished());
        let often_enough = watched.is_some_and(|watched| watched.every <= every);
        if !often_enough {
            let every = watched.map_or(every, |watched| watched.every.min(every));
            let task = tokio::spawn(watch(weak, every)).abort_handle();
            if let Some(before) = index.watched.replace(Watched { every, task }) {
                before.task.abort();
            }
        }
        drop(index);
        self
    }

    /// Its page is closed, though its connection is not.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
        let mut index = self.pages.lock();
        let Index { sessions, count, .. } = &mut *index;
        let entry = sessions.get_mut(&self.id).filter(|entry| entry.number == self.number);
        for count in [Some(count), entry.map(|entry| &mut entry.count)].into_iter().flatten() {
            count.open -= 1;
            count.cut += 1;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let leave = |count: &mut Count| match self.is_cut {
            true => count.cut -= 1,
            false => count.open -= 1,
        };
        let lapsed = {
            let mut index = self.pages.lock();
            if let Some(stream) = self.stream {
                index.streams.remove(stream);
            }
            leave(&mut index.count);
            let now = Instant::now();
            // It may have gone with the page's hub, and another may be there.
            let entry = index.sessions.get_mut(&self.id);
            if let Some(entry) = entry.filter(|entry| entry.number == self.number) {
                leave(&mut entry.count);
                if entry.count.all() == 0 {
                    entry.left_at = now;
                    index.lapsing.push_back((now + self.resume, self.id.clone()));
                }
            }
            index.take_lapsed(self.resume)
        };
        drop(lapsed);
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.lock();
        f.debug_struct("Pages")
            .field("open", &index.count.open)
            .field("sessions", &index.sessions.len())
            .field("closing", &index.closing)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use session_process::store::MemoryStore;

    use super::*;

    fn known(pages: &Pages) -> (usize, usize) {
        let index = pages.lock();
        (index.sessions.len(), index.keys.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_nobody_comes_back_to_is_forgotten_with_its_key() {
        let records = SessionRecords::builder(MemoryStore::new()).build().unwrap();
        let (pages, limits) = (Pages::new(), Limits::default());
        let [left, stays, next] = [(); 3].map(|()| SessionId::generate());
        let enter = |id| pages.enter(&pages.hub(id, 1, &limits), &limits).unwrap();
        // One from before it joined, and one from after.
        let left = enter(&left);
        assert_eq!(known(&pages), (1, 0));
        assert_eq!(pages.join(&records), Reach::AllNodes);
        let stays = enter(&stays);
        assert_eq!(known(&pages), (2, 2));

        drop(left);
        tokio::time::advance(limits.resume / 2).await;
        drop(enter(&next));
        assert_eq!(known(&pages), (3, 3), "it may come back");
        tokio::time::advance(limits.resume / 2).await;
        drop(enter(&next));
        assert_eq!(known(&pages), (2, 2));
        tokio::time::advance(limits.resume).await;
        drop(stays);
        assert_eq!(known(&pages), (1, 1));
        pages.close();
        assert_eq!(known(&pages), (0, 0));
    }
}
