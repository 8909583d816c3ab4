//! [`Queue`]: what waits for the threads of the store.
//!
//! # Invariants
//! 1. What was pushed is taken, in the order in which it came, also after the queue was closed.
//! 2. A thread that has work to take never waits for more of it.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Condvar, Mutex};

/// Work for one or more threads, bounded by weight.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    there_is_work: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(usize, T)>,
    weight: usize,
    idle_threads: usize,
    nudged: bool,
    closed: bool,
}

/// Why something was not taken up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// What a thread finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    /// Work, at least one piece.
    Work(Vec<T>),
    /// Nothing, and somebody asked to look up, or the time is over.
    Nothing,
    /// Nothing, and nothing will come.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                weight: 0,
                idle_threads: 0,
                nudged: false,
                closed: false,
            }),
            there_is_work: Condvar::new(),
            capacity,
        }
    }

    /// Adds work of a weight. What alone is heavier than the queue may hold is taken when nothing else waits.
    pub(crate) fn push(&self, weight: usize, work: T) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if !state.waiting.is_empty() && state.weight.saturating_add(weight) > self.capacity {
            return Err(Refused::Full);
        }
        state.weight += weight;
        state.waiting.push_back((weight, work));
        let somebody_waits = state.idle_threads > 0;
        drop(state);
        if somebody_waits {
            self.there_is_work.notify_one();
        }
        Ok(())
    }

    /// Waits for work, no longer than `patience`, and takes what is there: all of it, up to `most` pieces.
    pub(crate) fn take(&self, most: usize, patience: Option<Duration>) -> Taken<T> {
        let mut state = self.state.lock();
        loop {
            if !state.waiting.is_empty() {
                let count = state.waiting.len().min(most);
                let (weights, work): (Vec<usize>, Vec<T>) = state.waiting.drain(..count).unzip();
                state.weight -= weights.iter().sum::<usize>();
                return Taken::Work(work);
            }
            if state.closed {
                return Taken::Closed;
            }
            if std::mem::take(&mut state.nudged) {
                return Taken::Nothing;
            }
            state.idle_threads += 1;
            let timed_out = match patience {
                Some(patience) => self.there_is_work.wait_for(&mut state, patience).timed_out(),
                None => {
                    self.there_is_work.wait(&mut state);
                    false
                }
            };
            state.idle_threads -= 1;
            if timed_out && state.waiting.is_empty() && !state.closed {
                return Taken::Nothing;
            }
        }
    }

    /// Makes a thread that waits look up.
    pub(crate) fn nudge(&self) {
        self.state.lock().nudged = true;
        self.there_is_work.notify_one();
    }

    /// Takes up nothing from now on. What waits is still worked off.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.there_is_work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_waits_is_taken_at_once_in_its_order() {
        let queue = Queue::new(10);
        for n in 0..5 {
            queue.push(1, n).unwrap();
        }
        assert_eq!(queue.take(3, None), Taken::Work(vec![0, 1, 2]));
        assert_eq!(queue.take(3, None), Taken::Work(vec![3, 4]));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_never_fits_goes_alone() {
        let queue = Queue::new(10);
        queue.push(100, 'a').unwrap();
        assert_eq!(queue.push(1, 'b'), Err(Refused::Full));
        assert_eq!(queue.take(9, None), Taken::Work(vec!['a']));
        queue.push(10, 'b').unwrap();
        assert_eq!(queue.push(1, 'c'), Err(Refused::Full));
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has() {
        let queue = Queue::new(10);
        queue.push(1, 'a').unwrap();
        queue.close();
        assert_eq!(queue.push(1, 'b'), Err(Refused::Closed));
        assert_eq!(queue.take(9, None), Taken::Work(vec!['a']));
        assert_eq!(queue.take(9, None), Taken::Closed);
    }

    #[test]
    fn a_thread_that_waits_looks_up_when_it_is_nudged() {
        let queue = Queue::<()>::new(10);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.take(1, None));
            queue.nudge();
            assert_eq!(waits.join().unwrap(), Taken::Nothing);
        });
    }
}
