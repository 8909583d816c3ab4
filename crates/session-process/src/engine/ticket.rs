//! A message that waits, and the reply to it: one allocation that its sender and the session's runner share.
//!
//! # Invariants
//! 1. A message is either taken by the runner ([`Ticket::open`]) or by its sender ([`Ticket::withdraw`]), never by
//!    both. So a sender that gave up knows whether its message was handled.
//! 2. The reply is delivered at most once. Whoever finishes a ticket first decides.
//! 3. The waker is called outside the lock.
//!
//! The models in `crates/models` compile this file against loom's types.

use std::task::{Context, Poll, Waker};

use crate::sync::Mutex;

pub(crate) struct Ticket<M, R, F> {
    slot: Mutex<Slot<M, R, F>>,
}

enum Slot<M, R, F> {
    Queued(M, Option<Waker>),
    Begun(Option<Waker>),
    Done(Outcome<M, R, F>),
    /// Nobody waits for a reply (any more).
    Unwatched(Option<M>),
}

/// What became of a message: its reply, or why there is none, with the message if nobody began to handle it.
pub(crate) type Outcome<M, R, F> = Result<R, (F, Option<M>)>;

impl<M, R, F> Ticket<M, R, F> {
    /// For a message that waits for its turn and whose sender waits for the reply.
    pub(crate) fn queued(message: M) -> Self {
        Self::new(Slot::Queued(message, None))
    }

    /// For a message that waits for its turn and whose sender does not.
    pub(crate) fn one_way(message: M) -> Self {
        Self::new(Slot::Unwatched(Some(message)))
    }

    /// For a message that is being handled.
    pub(crate) fn begun() -> Self {
        Self::new(Slot::Begun(None))
    }

    /// For a message that is being handled and whose sender does not wait.
    pub(crate) fn begun_one_way() -> Self {
        Self::new(Slot::Unwatched(None))
    }

    /// Its sender took the message back, or it was handled without anybody waiting.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(*self.slot.lock(), Slot::Unwatched(None))
    }

    fn new(slot: Slot<M, R, F>) -> Self {
        Self { slot: Mutex::new(slot) }
    }

    /// Takes the message to handle it. `None`: its sender took it back.
    pub(crate) fn open(&self) -> Option<M> {
        let mut slot = self.slot.lock();
        match std::mem::replace(&mut *slot, Slot::Unwatched(None)) {
            Slot::Queued(message, waker) => {
                *slot = Slot::Begun(waker);
                Some(message)
            }
            Slot::Unwatched(message) => message,
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Delivers the reply.
    pub(crate) fn reply(&self, reply: R) {
        self.finish(|_| Ok(reply));
    }

    /// Says that there will be none. Gives a one-way message back, as nobody else will take it.
    pub(crate) fn refuse(&self, why: F) {
        self.finish(|message| Err((why, message)));
    }

    fn finish(&self, outcome: impl FnOnce(Option<M>) -> Outcome<M, R, F>) {
        let mut slot = self.slot.lock();
        let waker = match std::mem::replace(&mut *slot, Slot::Unwatched(None)) {
            Slot::Queued(message, waker) => {
                *slot = Slot::Done(outcome(Some(message)));
                waker
            }
            Slot::Begun(waker) => {
                *slot = Slot::Done(outcome(None));
                waker
            }
            done @ Slot::Done(_) => {
                *slot = done;
                None
            }
            Slot::Unwatched(message) => {
                drop(slot);
                // Values of the user's are dropped outside the lock: their `Drop` may do anything, and what it does is
                // no affair of the session's.
                let outcome = outcome(message);
                let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(outcome)));
                // What it panicked with may panic in turn.
                std::mem::forget(dropped);
                return;
            }
        };
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// For the sender: the outcome, once there is one. Not to be polled again after that.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Outcome<M, R, F>> {
        let mut slot = self.slot.lock();
        match &mut *slot {
            Slot::Queued(_, waker) | Slot::Begun(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            Slot::Done(_) => match std::mem::replace(&mut *slot, Slot::Unwatched(None)) {
                Slot::Done(outcome) => Poll::Ready(outcome),
                _ => unreachable!("matched above"),
            },
            Slot::Unwatched(_) => unreachable!("polled after it was finished or withdrawn"),
        }
    }

    /// For the sender: the outcome, if it is there. Not to be asked again after that.
    pub(crate) fn look(&self) -> Option<Outcome<M, R, F>> {
        let mut slot = self.slot.lock();
        if !matches!(*slot, Slot::Done(_)) {
            return None;
        }
        match std::mem::replace(&mut *slot, Slot::Unwatched(None)) {
            Slot::Done(outcome) => Some(outcome),
            _ => unreachable!("matched above"),
        }
    }

    /// For the sender that no longer waits: the message, if nobody began to handle it, or an outcome that was
    /// already there.
    pub(crate) fn withdraw(&self) -> Withdrawn<M, R, F> {
        let mut slot = self.slot.lock();
        match std::mem::replace(&mut *slot, Slot::Unwatched(None)) {
            Slot::Queued(message, _) => Withdrawn::NotBegun(message),
            Slot::Done(outcome) => Withdrawn::Done(outcome),
            Slot::Begun(_) | Slot::Unwatched(_) => Withdrawn::Begun,
        }
    }
}

pub(crate) enum Withdrawn<M, R, F> {
    NotBegun(M),
    Begun,
    Done(Outcome<M, R, F>),
}
