//! [`Queue`]: what waits for one of the store's connections.
//!
//! # Invariants
//! 1. What was pushed is taken, in the order in which it came, also after the queue was closed.
//! 2. A connection that has work to take never waits for more of it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use session_process::store::StoreError;
use tokio::sync::Notify;

/// Work for one connection or more, bounded by weight.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    there_is_work: Notify,
    capacity: usize,
    turns: Turns,
}

/// What the one who takes from a queue is at, where only one does: odd while what it took last is under way. Whoever takes
/// again is done with what it took before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// The number of the turn that is under way, if one is.
    pub(crate) fn under_way(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|turn| turn % 2 == 1)
    }

    pub(crate) fn begin(&self) {
        self.0.fetch_or(1, Ordering::AcqRel);
    }

    pub(crate) fn end(&self) {
        if let Some(turn) = self.under_way() {
            self.0.store(turn + 1, Ordering::Release);
        }
    }
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(usize, T)>,
    weight: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                weight: 0,
                closed: false,
            }),
            there_is_work: Notify::new(),
            capacity,
            turns: Turns::default(),
        }
    }

    pub(crate) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// Adds work of a weight. What alone is heavier than the queue may hold is taken when nothing else waits.
    pub(crate) fn push(&self, weight: usize, work: T) -> Result<(), StoreError> {
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(StoreError::Unavailable {
                    context: "it was shut down",
                    source: None,
                });
            }
            if !state.waiting.is_empty() && state.weight.saturating_add(weight) > self.capacity {
                return Err(StoreError::Overloaded);
            }
            state.weight += weight;
            state.waiting.push_back((weight, work));
        }
        // The connection that worked last, of those that wait: what it needs is still in the caches.
        self.there_is_work.notify_last();
        Ok(())
    }

    /// Waits for work and takes what is there, up to `most` pieces; `None` when the queue is closed and empty.
    pub(crate) async fn take(&self, most: usize) -> Option<Vec<T>> {
        self.turns.end();
        loop {
            {
                let mut state = self.state.lock();
                if !state.waiting.is_empty() {
                    let count = state.waiting.len().min(most);
                    let (weights, work): (Vec<usize>, Vec<T>) = state.waiting.drain(..count).unzip();
                    state.weight -= weights.iter().sum::<usize>();
                    if !state.waiting.is_empty() {
                        // For another connection at this queue.
                        self.there_is_work.notify_one();
                    }
                    self.turns.begin();
                    return Some(work);
                }
                if state.closed {
                    self.there_is_work.notify_one();
                    return None;
                }
            }
            self.there_is_work.notified().await;
        }
    }

    /// How many pieces wait, and what they weigh.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.waiting.len(), state.weight)
    }

    /// Takes up nothing from now on. What waits is still worked off.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.there_is_work.notify_one();
    }

    /// What nobody will take any more is dropped, and its callers learn of it by that.
    pub(crate) fn abandon(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}

/// Closes the queue when the task that serves it ends, however that comes about.
#[derive(Debug)]
pub(crate) struct Serves<'a, T>(pub(crate) &'a Queue<T>);

impl<T> Drop for Serves<'_, T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_that_waits_is_taken_at_once_in_its_order() {
        let queue = Queue::new(10);
        for n in 0..5 {
            queue.push(1, n).unwrap();
        }
        assert_eq!(queue.take(3).await, Some(vec![0, 1, 2]));
        queue.close();
        assert_eq!(queue.take(3).await, Some(vec![3, 4]));
        assert_eq!(queue.take(3).await, None);
        assert!(queue.push(1, 5).is_err());
    }

    #[tokio::test]
    async fn a_turn_is_over_when_work_is_taken_again() {
        let queue = Queue::new(10);
        let turns = queue.turns();
        assert_eq!(turns.under_way(), None);
        for turn in [1, 3] {
            queue.push(1, ()).unwrap();
            queue.take(9).await;
            assert_eq!(turns.under_way(), Some(turn));
        }
        queue.close();
        assert_eq!((queue.take(9).await, turns.under_way()), (None, None));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_what_never_fits_goes_alone() {
        let queue = Queue::new(10);
        queue.push(100, 'a').unwrap();
        assert!(matches!(queue.push(1, 'b'), Err(StoreError::Overloaded)));
        assert_eq!(queue.waiting(), (1, 100));
        assert_eq!(queue.take(9).await, Some(vec!['a']));
        assert_eq!(queue.waiting(), (0, 0));
        queue.push(10, 'b').unwrap();
        assert!(matches!(queue.push(1, 'c'), Err(StoreError::Overloaded)));
    }
}
