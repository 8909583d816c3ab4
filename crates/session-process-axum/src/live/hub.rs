//! [`Hub`]: what one session shows its pages: the newest view with its revision, and events.
//!
//! # Invariants
//! 1. The view is encoded once for a revision, however many pages there are.
//! 2. A page that is slow costs no more than a place: it gets the newest view, and of the events those that are still
//!    there. All queues have a bound.
//! 3. An end is final, and overtakes everything.
//! 4. No waker is woken under the lock.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use serde_json::Value;
use session_process::{EndReason, Follower, Monitor, SessionId};
use slab::Slab;
use tokio::sync::OnceCell;

use super::{
    frame::{Frame, Resume},
    pages::WeakPages,
    patch,
};

/// Steps that a page which was away can catch up by.
const RING: usize = 32;
/// And their bytes together.
const RING_BYTES: usize = 64 * 1024;
/// Events that a slow page can be behind.
const EVENTS: usize = 64;

pub(super) struct Hub {
    pub(super) id: SessionId,
    /// Of which [`Live`](super::Live).
    pub(super) live: u64,
    /// Of this hub alone: a revision means nothing under another.
    epoch: Box<str>,
    /// The process is observed.
    pub(super) ready: OnceCell<()>,
    pages: WeakPages,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// 0: there is no view yet.
    rev: u64,
    whole: Option<Whole>,
    ring: VecDeque<Step>,
    ring_bytes: usize,
    events: VecDeque<Frame>,
    /// How many events were before those.
    events_before: u64,
    end: Option<End>,
    pages: Slab<Option<Waker>>,
    /// Nobody will come any more.
    abandoned: bool,
}

struct Whole {
    json: String,
    /// Where patches are made.
    value: Option<Value>,
    frame: Frame,
}

struct Step {
    from: u64,
    rev: u64,
    frame: Frame,
}

/// Why pages are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Session(EndReason),
    /// It has another id.
    Rotated,
    /// The view panicked, or is no JSON, or too large.
    ViewFailed,
    /// The server shuts down.
    Closing,
}

/// Where a page is.
#[derive(Debug)]
pub(super) struct Seat {
    key: usize,
    rev: u64,
    events: u64,
    missed: Missed,
}

/// What a page was not told, since it was last asked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missed {
    /// Views that a newer one overtook.
    pub(super) views: u32,
    /// Events that were pushed out by newer ones.
    pub(super) events: u32,
}

impl Seat {
    pub(super) fn take_missed(&mut self) -> Missed {
        std::mem::take(&mut self.missed)
    }

    /// The revision that the page has.
    pub(super) fn at(&self) -> u64 {
        self.rev
    }
}

pub(super) enum Next {
    Frame(Frame),
    /// A newer view, which is to wait.
    Later,
    /// Nothing; the waker is noted.
    Nothing,
    End(End),
}

impl Hub {
    pub(super) fn new(id: SessionId, live: u64, pages: WeakPages) -> Arc<Self> {
        Arc::new(Self {
            id,
            live,
            epoch: format!("{:016x}", random()).into(),
            ready: OnceCell::new(),
            pages,
            state: Mutex::default(),
        })
    }

    /// A new view; nothing if it is the one before. `value` is there where patches are wanted.
    pub(super) fn put(&self, json: String, value: Option<Value>) {
        let mut state = self.lock();
        if state.end.is_some() || state.whole.as_ref().is_some_and(|whole| whole.json == json) {
            return;
        }
        let from = state.rev;
        let rev = from + 1;
        let before = state.whole.take();
        let old = before.as_ref().and_then(|before| before.value.as_ref());
        let patch = old.zip(value.as_ref()).and_then(|(old, new)| patch::diff(old, new));
        let patch = patch
            .map(|patch| patch.to_string())
            .filter(|patch| patch.len() < json.len());
        match patch {
            Some(patch) => {
                let frame = Frame::patch(&self.epoch, from, rev, &patch);
                state.ring_bytes += frame.json().len();
                state.ring.push_back(Step { from, rev, frame });
                while state.ring.len() > RING || state.ring_bytes > RING_BYTES {
                    let Some(step) = state.ring.pop_front() else { break };
                    state.ring_bytes -= step.frame.json().len();
                }
            }
            // Nobody gets past this revision step by step.
            None => {
                state.ring.clear();
                state.ring_bytes = 0;
            }
        }
        state.rev = rev;
        state.whole = Some(Whole {
            frame: Frame::state(&self.epoch, rev, &json),
            json,
            value,
        });
        wake(state);
        drop(before);
    }

    /// Something to tell once; returns how many pages there are to hear it.
    pub(super) fn tell(&self, event: Frame) -> usize {
        let mut state = self.lock();
        if state.end.is_some() || state.pages.is_empty() {
            return 0;
        }
        state.events.push_back(event);
        if state.events.len() > EVENTS {
            state.events.pop_front();
            state.events_before += 1;
        }
        let pages = state.pages.len();
        wake(state);
        pages
    }

    /// Closes all pages, and nobody comes here any more.
    pub(super) fn close(&self, end: End) {
        self.finish(end);
        if let Some(pages) = self.pages.upgrade() {
            pages.forget(self);
        }
    }

    /// Closes all pages, for the first reason there is.
    pub(super) fn finish(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        wake(state);
    }

    pub(super) fn end(&self) -> Option<End> {
        self.lock().end
    }

    /// Nobody comes back in time.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    pub(super) fn is_done(&self) -> bool {
        let state = self.lock();
        state.end.is_some() || state.abandoned
    }

    /// A page comes, perhaps back. Returns its seat, the revision it is at, and whether it goes on there.
    pub(super) fn sit(&self, resume: Option<&Resume>) -> (Seat, bool) {
        let mut state = self.lock();
        let events = state.events_before + state.events.len() as u64;
        let key = state.pages.insert(None);
        let at = resume
            .filter(|resume| resume.epoch.as_deref() == Some(&self.epoch))
            .map(|resume| resume.rev)
            .filter(|rev| state.reaches(*rev));
        let rev = at.unwrap_or(0);
        let missed = Missed::default();
        let seat = Seat {
            key,
            rev,
            events,
            missed,
        };
        (seat, at.is_some())
    }

    pub(super) fn hello(&self, resumed: bool, heartbeat: std::time::Duration) -> Frame {
        Frame::hello(&self.epoch, self.lock().rev, resumed, heartbeat)
    }

    /// What comes next for a page. `paced`: it had a view just now, so a newer one waits.
    pub(super) fn next(&self, seat: &mut Seat, waker: &Waker, paced: bool) -> Next {
        let mut state = self.lock();
        if let Some(end) = state.end {
            return Next::End(end);
        }
        if seat.events < state.events_before {
            seat.missed.events += (state.events_before - seat.events) as u32;
            seat.events = state.events_before;
        }
        if let Some(event) = state.events.get((seat.events - state.events_before) as usize) {
            seat.events += 1;
            return Next::Frame(event.clone());
        }
        let behind = seat.rev < state.rev;
        if behind && !paced {
            // Of many steps the whole is shorter, and it is one frame.
            let next = state.ring.iter().find(|step| step.from == seat.rev);
            let steps = state.rev - seat.rev;
            return match next {
                Some(step) if steps <= 4 => {
                    seat.rev = step.rev;
                    Next::Frame(step.frame.clone())
                }
                _ => {
                    // To one that is new, none of those before was owed.
                    if seat.rev > 0 {
                        seat.missed.views += (steps - 1) as u32;
                    }
                    seat.rev = state.rev;
                    let whole = state.whole.as_ref().expect("there is one for every revision");
                    Next::Frame(whole.frame.clone())
                }
            };
        }
        let place = &mut state.pages[seat.key];
        if !place.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *place = Some(waker.clone());
        }
        if behind { Next::Later } else { Next::Nothing }
    }

    /// A page has the newest view.
    pub(super) fn is_at(&self, seat: &Seat) -> bool {
        self.lock().rev == seat.rev
    }

    pub(super) fn rise(&self, seat: &Seat) {
        let gone = self.lock().pages.try_remove(seat.key);
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower for Hub {
    fn rotated(&self) {
        self.close(End::Rotated);
    }

    fn ended(&self, reason: EndReason) {
        self.close(End::Session(reason));
    }
}

/// No secret: it tells one from another.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl State {
    /// A page at this revision needs no more than the steps that are kept, or nothing.
    fn reaches(&self, rev: u64) -> bool {
        rev > 0 && (rev == self.rev || self.ring.iter().any(|step| step.from == rev))
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let wakers: Vec<Waker> = state.pages.iter_mut().filter_map(|(_, waker)| waker.take()).collect();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

/// The end as its pages are told.
pub(super) fn last_frame(end: End, monitor: &Monitor) -> Frame {
    use std::time::Duration;

    use session_process::Expiry;

    let again = |millis, reason| Frame::reconnect(Duration::from_millis(millis), reason);
    let reason = match end {
        End::Session(reason) => reason,
        // The cookie with the new id is on its way to the browser.
        End::Rotated => return again(500, "moved"),
        End::ViewFailed => return again(30_000, "error"),
        End::Closing => return again(1_000, "shutdown"),
    };
    // Where it was cut off, the monitor knows more.
    match monitor.reason().unwrap_or(reason) {
        EndReason::Expired(Expiry::Idle) => Frame::session_expired("idle"),
        EndReason::Expired(Expiry::Absolute) => Frame::session_expired("absolute"),
        EndReason::LoggedOut | EndReason::Stopped => Frame::session_expired("logout"),
        EndReason::Evicted => Frame::session_expired("evicted"),
        // It may be there again with the next request.
        EndReason::Crashed => again(1_000, "crashed"),
        EndReason::Asleep => again(500, "moved"),
        EndReason::Shutdown => again(1_000, "shutdown"),
        _ => Frame::session_expired("revoked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(hub: &Hub, seat: &mut Seat) -> Vec<String> {
        let mut frames = Vec::new();
        while let Next::Frame(frame) = hub.next(seat, Waker::noop(), false) {
            frames.push(String::from_utf8(frame.json().to_vec()).unwrap());
        }
        frames
    }

    fn put(hub: &Hub, json: &str) {
        hub.put(json.to_owned(), Some(serde_json::from_str(json).unwrap()));
    }

    fn hub() -> Arc<Hub> {
        Hub::new("room".parse().unwrap(), 1, WeakPages::default())
    }

    #[test]
    fn a_page_gets_the_whole_and_then_patches() {
        let hub = hub();
        put(&hub, r#"{"a":1,"long":"abcdefghij"}"#);
        let (mut seat, resumed) = hub.sit(None);
        assert!(!resumed);
        assert_eq!(
            frames(&hub, &mut seat),
            [r#"{"t":"state","rev":1,"data":{"a":1,"long":"abcdefghij"}}"#]
        );
        put(&hub, r#"{"a":2,"long":"abcdefghij"}"#);
        put(&hub, r#"{"a":2,"long":"abcdefghij"}"#);
        assert_eq!(
            frames(&hub, &mut seat),
            [r#"{"t":"patch","from":1,"rev":2,"data":{"a":2}}"#]
        );
    }

    #[test]
    fn a_page_that_was_away_goes_on_where_it_was_or_gets_the_whole() {
        let hub = hub();
        for n in 0..20 {
            put(&hub, &format!(r#"{{"n":{n},"long":"abcdefghijklm"}}"#));
        }
        let at = |rev| Resume {
            epoch: Some(hub.epoch.to_string()),
            rev,
        };
        let (mut seat, resumed) = hub.sit(Some(&at(18)));
        assert!(resumed);
        assert_eq!(frames(&hub, &mut seat).len(), 2);
        let (mut seat, resumed) = hub.sit(Some(&at(20)));
        assert!(resumed);
        assert!(frames(&hub, &mut seat).is_empty());
        for stale in [at(0), at(21), Resume { epoch: None, rev: 18 }] {
            let (mut seat, resumed) = hub.sit(Some(&stale));
            assert!(!resumed);
            assert!(frames(&hub, &mut seat)[0].contains("state"));
        }
    }

    #[test]
    fn a_slow_page_gets_the_latest_and_no_queue_grows() {
        let hub = hub();
        let (mut seat, _) = hub.sit(None);
        for n in 0..10_000 {
            put(&hub, &format!(r#"{{"n":{n},"long":"{}"}}"#, "x".repeat(500)));
            hub.tell(Frame::event("tick", &n.into()));
        }
        {
            let state = hub.lock();
            assert!(state.ring.len() <= RING && state.ring_bytes <= RING_BYTES);
            assert!(state.events.len() <= EVENTS);
        }
        let frames = frames(&hub, &mut seat);
        assert_eq!(frames.len(), EVENTS + 1);
        let missed = Missed {
            views: 0,
            events: 10_000 - EVENTS as u32,
        };
        assert_eq!(seat.take_missed(), missed, "a page that is new was owed no view before");
        assert_eq!(seat.take_missed(), Missed::default());
        assert!(frames[EVENTS].contains("9999"), "the latest");
        assert!(
            frames[0].contains(&(10_000 - EVENTS).to_string()),
            "the oldest that is left"
        );
    }

    #[test]
    fn an_end_is_final_and_overtakes() {
        let hub = hub();
        let (mut seat, _) = hub.sit(None);
        put(&hub, "1");
        hub.finish(End::Rotated);
        hub.finish(End::Closing);
        put(&hub, "2");
        assert!(matches!(
            hub.next(&mut seat, Waker::noop(), false),
            Next::End(End::Rotated)
        ));
    }
}
