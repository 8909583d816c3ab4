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
    static STACK: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

struct Entry {
    session: usize,
    /// The entry below awaits this one's reply.
    called: bool,
    frame: Option<Arc<Frame>>,
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

/// What a message to `session` would meet, if sent from where this thread stands.
#[inline]
pub(crate) fn check(session: usize) -> Chain {
    STACK.with_borrow(|stack| {
        if stack.is_empty() {
            Chain::Free
        } else if awaited_by_callers(stack, session) {
            Chain::Cycle
        } else if stack.len() >= MAX_DEPTH {
            Chain::TooDeep
        } else {
            Chain::Free
        }
    })
}

fn awaited_by_callers(stack: &[Entry], session: usize) -> bool {
    for entry in stack.iter().rev() {
        if entry.session == session {
            return true;
        }
        if let Some(frame) = &entry.frame {
            // Its callers are all in the frames, whether they are still on this thread or not.
            let mut link = frame;
            while let Some(caller) = &link.caller {
                if !link.waiting.load(Ordering::Acquire) {
                    return false;
                }
                if caller.session == session {
                    return true;
                }
                link = caller;
            }
            return false;
        }
        if !entry.called {
            return false;
        }
    }
    false
}

/// A frame for a call to `session` that will wait in its mailbox, if the caller is itself a handler.
pub(crate) fn frame_for_queued_call(session: usize) -> Option<Arc<Frame>> {
    STACK.with_borrow_mut(|stack| {
        let top = stack.len().checked_sub(1)?;
        let caller = frame_at(stack, top);
        Some(Arc::new(Frame {
            session,
            caller: Some(caller),
            waiting: AtomicBool::new(true),
        }))
    })
}

fn frame_at(stack: &mut [Entry], index: usize) -> Arc<Frame> {
    if let Some(frame) = &stack[index].frame {
        return Arc::clone(frame);
    }
    let caller = (stack[index].called && index > 0).then(|| frame_at(stack, index - 1));
    let entry = &mut stack[index];
    let frame = Arc::new(Frame {
        session: entry.session,
        waiting: AtomicBool::new(caller.is_some()),
        caller,
    });
    entry.frame = Some(Arc::clone(&frame));
    frame
}

/// Puts a handler on the chain for the time of one poll. `called`: the code on this thread awaits its reply.
#[inline]
pub(crate) fn enter(session: usize, called: bool, frame: Option<Arc<Frame>>) -> Guard {
    STACK.with_borrow_mut(|stack| {
        stack.push(Entry { session, called, frame });
    });
    Guard { left: false }
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
        STACK.with_borrow_mut(|stack| {
            let top = stack.len() - 1;
            if stack[top].called && top > 0 {
                frame_at(stack, top);
            }
            stack.pop().and_then(|entry| entry.frame)
        })
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        if !self.left {
            // Bound first: a frame's drop must not run while the stack is borrowed.
            let entry = STACK.with_borrow_mut(Vec::pop);
            drop(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_back_to_any_waiting_caller_is_a_cycle() {
        let _a = enter(1, true, None);
        let _b = enter(2, true, None);
        assert_eq!(check(1), Chain::Cycle);
        assert_eq!(check(2), Chain::Cycle);
        assert_eq!(check(3), Chain::Free);
    }

    #[test]
    fn the_sender_of_a_cast_may_be_called() {
        let _a = enter(1, true, None);
        let _b = enter(2, false, None);
        assert_eq!(check(1), Chain::Free);
    }

    #[test]
    fn a_suspended_handler_takes_its_callers_along_until_they_leave() {
        let a = enter(1, true, None);
        let frame = enter(2, true, None).suspend().expect("it has a caller");
        drop(a);
        let on_another_thread = || {
            let frame = Arc::clone(&frame);
            std::thread::spawn(move || {
                let _b = enter(2, false, Some(frame));
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
        let guards: Vec<_> = (0..MAX_DEPTH).map(|session| enter(session, false, None)).collect();
        assert_eq!(check(99), Chain::TooDeep);
        drop(guards);
        assert_eq!(check(99), Chain::Free);
    }
}
