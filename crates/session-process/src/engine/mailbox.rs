//! The mailbox of a session, and the run right: whose turn it is.
//!
//! A session that does nothing has no task. Whoever brings a message takes the *run right* and handles it where it
//! stands; who finds the right taken leaves the message in the queue, and the holder takes it from there.
//!
//! # Invariants
//! 1. At most one holder of the run right at a time. It is held from [`RunRight::held`], a successful
//!    [`Mailbox::try_begin`], or a [`Push::Begin`], [`Close::Begin`], until [`Mailbox::release`] returns true or
//!    [`Mailbox::next`] returns [`Next::Idle`].
//! 2. A queued message is never forgotten: the right is not given up while the queue holds something, because
//!    `QUEUED` is set under the queue's lock, and the right is given up without the lock only if no bit but
//!    `RUNNING` and `AWAY` is set. While `QUEUED` is not set, nothing is in the queue but a message whose sender still
//!    holds the lock; if that finds the mailbox closed meanwhile, it takes the message back.
//! 3. Messages come out in the order in which they were pushed; `try_begin` fails while anything is queued, so a
//!    message handled in place never overtakes one that waits.
//! 4. `CLOSED` is set once and stays. From then on every push is refused, and exactly one caller learns that it has
//!    to bring the session to its end.
//!
//! Deadlock safety: no lock is taken while the queue's is held, except a ticket's by [`Item::is_gone`], which is a leaf.
//!
//! The models in `crates/models` compile this file against loom's types.

use std::collections::VecDeque;

use crate::sync::{AtomicU32, Mutex, Ordering, spin_loop};

const RUNNING: u32 = 1;
const QUEUED: u32 = 1 << 1;
const CLOSED: u32 = 1 << 2;
/// The holder of the run right waits in a task: there is no point in spinning for it. And it has found the session in
/// time, so this is in use: while the right is just held, that may be still to be judged.
const AWAY: u32 = 1 << 3;

/// How often a sender looks again before it leaves its message in the queue. Under load every second or third look
/// meets another message being handled, so it takes this many to be sure that none but a slow handler sends a message
/// to the queue; which costs two allocations and a switch of tasks, and then the others too, until it is empty.
const LOOKS: u32 = 16;

/// The pause between two looks, in turns of `spin_loop`: one to two microseconds; all looks together below 30.
///
/// Long on purpose: while one thread pauses, the other handles ten messages in a row with all that they touch in its
/// cache. Threads that take turns message by message are half as fast, and a quarter where their cores share no cache.
const PAUSE: u32 = 128;

/// A queue that has grown past this is given back to the allocator when it runs empty, so that one burst doesn't
/// leave its memory with an idle session for good.
const KEPT_CAPACITY: usize = 16;

/// Whose turn it is: what each message writes.
#[derive(Debug)]
pub(crate) struct RunRight {
    bits: AtomicU32,
}

/// What waits.
pub(crate) struct Queue<T>(Mutex<Waits<T>>);

/// The two of one session, wherever they lie in it: the queue is out of the way of messages that don't need it.
pub(crate) struct Mailbox<'a, T> {
    bits: &'a AtomicU32,
    queue: &'a Mutex<Waits<T>>,
}

/// A session whose messages are all handled in place never has one, and pays one word for it.
type Waits<T> = Option<Box<Waiting<T>>>;

struct Waiting<T> {
    messages: VecDeque<Place<T>>,
    /// How many of them count against a bound.
    bounded: usize,
    /// At most so many of them were taken back by their senders. Their places are given to others when there are no
    /// more, or when they are the half of all: so who takes back pays for the look at those that wait, and not who comes.
    withdrawn: usize,
}

struct Place<T> {
    message: T,
    bounded: bool,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            messages: VecDeque::new(),
            bounded: 0,
            withdrawn: 0,
        }
    }
}

impl<T: Item> Waiting<T> {
    fn has_room(&mut self, bound: Option<usize>) -> bool {
        let is_full = |bounded| bound.is_some_and(|bound| bounded >= bound);
        let half = self.messages.len() / 2;
        if self.withdrawn > half.max(KEPT_CAPACITY) || self.withdrawn > 0 && is_full(self.bounded) {
            self.withdrawn = 0;
            self.messages.retain(|place| !place.message.is_gone());
            self.bounded = self.messages.iter().filter(|place| place.bounded).count();
        }
        !is_full(self.bounded)
    }
}

/// What waits in a mailbox.
pub(crate) trait Item {
    /// Its sender took it back. Called under the queue's lock.
    fn is_gone(&self) -> bool;
}

/// What became of a pushed message.
#[derive(Debug)]
pub(crate) enum Push<T> {
    /// The holder of the run right will come to it.
    Queued,
    /// Queued, and nobody ran: the caller now holds the run right and must see to the queue.
    Begin,
    /// As many wait as may; the message comes back.
    Full(T),
    /// The session ends or has ended; the message comes back.
    Closed(T),
}

/// What the holder of the run right does next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Message(T),
    /// Nothing is left and the run right is given up.
    Idle,
    /// Nothing is left and the mailbox is closed: the holder brings the session to its end, keeping the right.
    Closed,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// Nobody ran: the caller holds the run right and brings the session to its end.
    Begin,
    /// The holder of the run right will find the mailbox closed.
    Running,
    /// Somebody was first.
    Already,
}

impl RunRight {
    /// Held by the caller, who is starting the session.
    pub(crate) fn held() -> Self {
        Self {
            bits: AtomicU32::new(RUNNING),
        }
    }
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }
}

impl<'a, T: Item> Mailbox<'a, T> {
    #[inline]
    pub(crate) fn of(right: &'a RunRight, queue: &'a Queue<T>) -> Self {
        Self {
            bits: &right.bits,
            queue: &queue.0,
        }
    }

    /// Takes the run right if nobody has it, nothing waits and the mailbox is open.
    pub(crate) fn try_begin(&self) -> bool {
        self.bits
            .compare_exchange(0, RUNNING, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// The same, and looks again for a moment if the right is held by somebody who should give it up soon.
    pub(crate) fn try_begin_soon(&self) -> bool {
        if self.try_begin() {
            return true;
        }
        for _ in 0..LOOKS {
            // Looks before it tries: an exchange that fails takes the cache line away from the holder all the same.
            match self.bits.load(Ordering::Relaxed) {
                0 => {
                    if self.try_begin() {
                        return true;
                    }
                }
                RUNNING => {}
                _ => return false,
            }
            for _ in 0..PAUSE {
                spin_loop();
            }
        }
        false
    }

    /// For the holder of the run right whose message has to wait, in a session that has not expired.
    pub(crate) fn away(&self) {
        self.bits.fetch_or(AWAY, Ordering::Relaxed);
    }

    /// Leaves a message for the holder of the run right: with a `bound` only if fewer than that wait, of those that were
    /// left with one.
    pub(crate) fn push(&self, message: T, bound: Option<usize>) -> Push<T> {
        let mut queue = self.queue.lock();
        if self.is_closed() {
            return Push::Closed(message);
        }
        let waiting = queue.get_or_insert_default();
        if !waiting.has_room(bound) {
            return Push::Full(message);
        }
        let bounded = bound.is_some();
        waiting.messages.push_back(Place { message, bounded });
        let before = self.bits.fetch_or(QUEUED | RUNNING, Ordering::AcqRel);
        if before & CLOSED != 0 {
            // By one that found it idle, and needed no lock for that.
            let place = waiting.messages.pop_back().expect("pushed just now, under the lock");
            return Push::Closed(place.message);
        }
        waiting.bounded += usize::from(bounded);
        if before & RUNNING == 0 {
            Push::Begin
        } else {
            Push::Queued
        }
    }

    /// Gives the run right up, without a lock, if nothing waits and the mailbox is open. Otherwise the caller keeps
    /// it, and sees to the queue with [`next`](Self::next).
    #[must_use]
    pub(crate) fn release(&self) -> bool {
        let give_up = |bits| {
            self.bits
                .compare_exchange(bits, 0, Ordering::Release, Ordering::Relaxed)
        };
        match give_up(RUNNING) {
            Ok(_) => true,
            // It has waited in a task, and nothing came meanwhile.
            Err(bits) if bits == RUNNING | AWAY => give_up(bits).is_ok(),
            Err(_) => false,
        }
    }

    /// The next message; or gives the run right up. Only for its holder.
    pub(crate) fn next(&self) -> Next<T> {
        let mut queue = self.queue.lock();
        if let Some(waiting) = &mut *queue {
            if let Some(Place { message, bounded }) = waiting.messages.pop_front() {
                waiting.bounded -= usize::from(bounded);
                return Next::Message(message);
            }
            if waiting.messages.capacity() > KEPT_CAPACITY {
                *queue = None;
            }
        }
        if self.is_closed() {
            return Next::Closed;
        }
        // Pushers hold the lock while they set bits, and so do closers while the right is held: nothing can come between.
        self.bits.store(0, Ordering::Release);
        Next::Idle
    }

    /// Refuses every further message. What waits is still handled; see [`take`](Self::take).
    pub(crate) fn close(&self) -> Close {
        // Most sessions that end are idle.
        let idle = self
            .bits
            .compare_exchange(0, CLOSED | RUNNING, Ordering::AcqRel, Ordering::Relaxed);
        if idle.is_ok() {
            return Close::Begin;
        }
        let _queue = self.queue.lock();
        let before = self.bits.fetch_or(CLOSED | RUNNING, Ordering::AcqRel);
        if before & CLOSED != 0 {
            Close::Already
        } else if before & RUNNING != 0 {
            Close::Running
        } else {
            Close::Begin
        }
    }

    /// The same, unless something waits or it is closed, or `announce` says no, which runs under the lock. Only for the
    /// holder of the run right. Returns whether it is closed by this.
    pub(crate) fn close_if_empty(&self, announce: impl FnOnce() -> bool) -> bool {
        let queue = self.queue.lock();
        let waits = queue.as_ref().is_some_and(|waiting| !waiting.messages.is_empty());
        if waits || self.is_closed() || !announce() {
            return false;
        }
        self.bits.fetch_or(CLOSED, Ordering::AcqRel);
        true
    }

    /// Takes everything that waits, to hand it back to its senders. Only for the holder of the run right, or after
    /// [`close`](Self::close).
    pub(crate) fn take(&self) -> impl Iterator<Item = T> + use<T> {
        let taken = if self.bits.load(Ordering::Acquire) & QUEUED == 0 {
            None
        } else {
            self.queue.lock().take()
        };
        let places = taken.into_iter().flat_map(|waiting| waiting.messages);
        places.map(|place| place.message)
    }

    /// For the sender of a message, after it has taken it back: its place is free.
    pub(crate) fn withdrawn(&self) {
        if let Some(waiting) = &mut *self.queue.lock() {
            waiting.withdrawn += 1;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.bits.load(Ordering::Acquire) & CLOSED != 0
    }

    /// A message is at work that has to wait, so the session doesn't idle.
    pub(crate) fn is_in_use(&self) -> bool {
        self.bits.load(Ordering::Acquire) & AWAY != 0
    }

    pub(crate) fn is_running(&self) -> bool {
        self.bits.load(Ordering::Acquire) & RUNNING != 0
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().as_ref().map_or(0, |queue| queue.messages.len())
    }
}
