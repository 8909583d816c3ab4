//! Who waits for whom: the chain of calls that the code on this thread stands in.
//!
//! A process that calls itself, directly or through others, would wait for its own turn for good. The chain lets
//! [`check`] say so at once. It also bounds how deep handlers may run inside each other's polls, so that a chain of
//! processes can't overflow the stack.
//!
//! # How it is kept
//! While a handler is polled, an [`Entry`] for it lies on this thread's stack of entries. A handler that has to wait
//! leaves the thread, and the part of the chain that it needs later goes with it as [`Frame`]s on the heap. They are
//! made only then, so a handler that ends in place allocates nothing here.
//!
//! # Invariants
//! 1. An entry is on the stack exactly while its handler is polled; [`Guard`] takes it off, also when unwinding.
//! 2. A link to a caller counts only while that caller waits: `Frame::waiting` is cleared when it stops, so a caller
//!    that gave up is no part of a cycle. (Hence an address in a counted link belongs to a session that is alive.)
//! 3. A cast makes no link: its sender does not wait.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// How deep handlers run inside each other's first polls before the next one gets a task of its own. A handler's
/// future is on the heap; what its poll keeps on the stack is some hundred bytes in release, a few KiB in debug
/// builds. A tokio worker has 2 MiB.
const MAX_DEPTH: usize = 16;

/// Calls that end in place before one of them takes a unit of tokio's budget of 128: 2,048 calls, some 200 microseconds
/// of small handlers, before a caller that does nothing else gives its thread up. At a unit for each call that would be
/// every 13 microseconds, and each time costs 10 to 20: another thread takes the task over, with cold caches.
const CALLS_A_UNIT: u32 = 16;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
    static STACK: Stack = const { Stack::new() };
    static FRAMES: RefCell<Frames> = const { RefCell::new([const { None }; MAX_DEPTH]) };
}

/// The entries of this thread. Plain numbers, so that entering and leaving costs next to nothing; the frames, which
/// few entries have, lie beside them.
struct Stack {
    depth: Cell<usize>,
    entries: [Cell<Entry>; MAX_DEPTH],
    /// Some entry has a frame.
    framed: Cell<bool>,
}

type Frames = [Option<Arc<Frame>>; MAX_DEPTH];

#[derive(Clone, Copy)]
struct Entry {
    session: usize,
    /// The entry below awaits this one's reply.
    called: bool,
}

impl Stack {
    const fn new() -> Self {
        Self {
            depth: Cell::new(0),
            entries: [const {
                Cell::new(Entry {
                    session: 0,
                    called: false,
                })
            }; MAX_DEPTH],
            framed: Cell::new(false),
        }
    }

    fn entry(&self, at: usize) -> Entry {
        self.entries[at].get()
    }
}

/// A link of the chain that has left the thread it began on.
pub(crate) struct Frame {
    session: usize,
    caller: Option<Arc<Frame>>,
    waiting: AtomicBool,
}

impl Frame {
    /// The caller no longer waits for this handler.
    pub(crate) fn caller_left(&self) {
        self.waiting.store(false, Ordering::Release);
    }
}

/// Link by link: a long chain that is dropped must not overflow the stack either.
impl Drop for Frame {
    fn drop(&mut self) {
        let mut next = self.caller.take();
        while let Some(frame) = next {
            next = Arc::into_inner(frame).and_then(|mut frame| frame.caller.take());
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// The handler may run where the caller stands.
    Free,
    /// It may be called, but should begin in a task of its own.
    TooDeep,
    /// The code that asks runs for that very session, which therefore can't answer.
    Cycle,
}

/// Lets others have the thread, if the caller has had its share: see [`CALLS_A_UNIT`].
///
/// # Cancel safety
/// Nothing is lost.
#[inline]
pub(crate) async fn take_turn() {
    let calls = CALLS.get().wrapping_add(1);
    CALLS.set(calls);
    if calls.is_multiple_of(CALLS_A_UNIT) {
        tokio::task::coop::consume_budget().await;
    }
}

/// Whether the code on this thread is a handler's.
pub(crate) fn in_a_handler() -> bool {
    STACK.with(|stack| stack.depth.get() > 0)
}

/// What a message to `session` would meet, if sent from where this thread stands.
#[inline]
pub(crate) fn check(session: usize) -> Chain {
    STACK.with(|stack| match stack.depth.get() {
        0 => Chain::Free,
        depth if awaited_by_callers(stack, depth, session) => Chain::Cycle,
        depth if depth >= MAX_DEPTH => Chain::TooDeep,
        _ => Chain::Free,
    })
}

fn awaited_by_callers(stack: &Stack, depth: usize, session: usize) -> bool {
    for at in (0..depth.min(MAX_DEPTH)).rev() {
        let entry = stack.entry(at);
        if entry.session == session {
            return true;
        }
        if let Some(frame) = frame_of(stack, at) {
            // Its callers are all in the frames, whether they are still on this thread or not.
            return frame.awaited_by(session);
        }
        if !entry.called {
            return false;
        }
    }
    false
}

impl Frame {
    fn awaited_by(&self, session: usize) -> bool {
        let mut link = self;
        while let Some(caller) = &link.caller {
            if !link.waiting.load(Ordering::Acquire) {
                return false;
            }
            if caller.session == session {
                return true;
            }
            link = caller;
        }
        false
    }
}

fn frame_of(stack: &Stack, at: usize) -> Option<Arc<Frame>> {
    if !stack.framed.get() {
        return None;
    }
    FRAMES.with_borrow(|frames| frames[at].clone())
}

fn set_frame(stack: &Stack, at: usize, frame: Arc<Frame>) {
    stack.framed.set(true);
    let before = FRAMES.with_borrow_mut(|frames| frames[at].replace(frame));
    drop(before);
}

/// A frame for a call to `session` that will wait in its mailbox, if the caller is itself a handler.
pub(crate) fn frame_for_queued_call(session: usize) -> Option<Arc<Frame>> {
    STACK.with(|stack| {
        let top = stack.depth.get().min(MAX_DEPTH).checked_sub(1)?;
        Some(Arc::new(Frame {
            session,
            caller: Some(frame_at(stack, top)),
            waiting: AtomicBool::new(true),
        }))
    })
}

/// The frame of an entry, made if it has none yet.
fn frame_at(stack: &Stack, at: usize) -> Arc<Frame> {
    if let Some(frame) = frame_of(stack, at) {
        return frame;
    }
    let Entry { session, called } = stack.entry(at);
    let caller = (called && at > 0).then(|| frame_at(stack, at - 1));
    let frame = Arc::new(Frame {
        session,
        waiting: AtomicBool::new(caller.is_some()),
        caller,
    });
    set_frame(stack, at, Arc::clone(&frame));
    frame
}

/// Puts a handler on the chain for the time of one poll. `called`: the code on this thread awaits its reply.
#[inline]
pub(crate) fn enter(session: usize, called: bool) -> Guard {
    // Small enough to be inlined, which the other is not: this is part of every message.
    STACK.with(move |stack| {
        push(stack, Entry { session, called });
    });
    Guard { left: false }
}

/// The same for a handler that was suspended: it brings its part of the chain.
pub(crate) fn enter_again(session: usize, frame: Option<Arc<Frame>>) -> Guard {
    STACK.with(|stack| {
        let at = push(stack, Entry { session, called: false });
        if let (true, Some(frame)) = (at < MAX_DEPTH, frame) {
            set_frame(stack, at, frame);
        }
    });
    Guard { left: false }
}

/// Returns how deep it lies.
#[inline]
fn push(stack: &Stack, entry: Entry) -> usize {
    let at = stack.depth.get();
    stack.depth.set(at + 1);
    // Deeper than `check` allows only where somebody polls tasks inside a handler; such a chain is cut short.
    if let Some(place) = stack.entries.get(at) {
        place.set(entry);
    }
    at
}

/// Takes the entry off again.
#[must_use]
pub(crate) struct Guard {
    left: bool,
}

impl Guard {
    /// The poll is over and the handler will be polled again, perhaps on another thread: the part of the chain that
    /// it takes along.
    pub(crate) fn suspend(mut self) -> Option<Arc<Frame>> {
        self.left = true;
        STACK.with(|stack| {
            let top = stack.depth.get() - 1;
            if top < MAX_DEPTH && top > 0 && stack.entry(top).called {
                frame_at(stack, top);
            }
            leave(stack)
        })
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        if !self.left {
            drop(STACK.with(leave));
        }
    }
}

#[inline]
fn leave(stack: &Stack) -> Option<Arc<Frame>> {
    let top = stack.depth.get() - 1;
    stack.depth.set(top);
    if !stack.framed.get() || top >= MAX_DEPTH {
        return None;
    }
    if top == 0 {
        stack.framed.set(false);
    }
    FRAMES.with_borrow_mut(|frames| frames[top].take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_back_to_any_waiting_caller_is_a_cycle() {
        let _a = enter(1, true);
        let _b = enter(2, true);
        assert_eq!(check(1), Chain::Cycle);
        assert_eq!(check(2), Chain::Cycle);
        assert_eq!(check(3), Chain::Free);
    }

    #[test]
    fn the_sender_of_a_cast_may_be_called() {
        let _a = enter(1, true);
        let _b = enter(2, false);
        assert_eq!(check(1), Chain::Free);
    }

    #[test]
    fn a_suspended_handler_takes_its_callers_along_until_they_leave() {
        let a = enter(1, true);
        let frame = enter(2, true).suspend().expect("it has a caller");
        drop(a);
        let on_another_thread = || {
            let frame = Arc::clone(&frame);
            std::thread::spawn(move || {
                let _b = enter_again(2, Some(frame));
                check(1)
            })
            .join()
            .unwrap()
        };
        assert_eq!(on_another_thread(), Chain::Cycle);
        frame.caller_left();
        assert_eq!(on_another_thread(), Chain::Free);
    }

    #[test]
    fn depth_is_bounded() {
        let guards: Vec<_> = (0..MAX_DEPTH).map(|session| enter(session, false)).collect();
        assert_eq!(check(99), Chain::TooDeep);
        drop(guards);
        assert_eq!(check(99), Chain::Free);
    }
}
