//! [`DatabaseClock`]: the database's time, estimated from its answers and the node's monotonic clock.
//!
//! # Invariants
//! 1. The node's calendar clock is never asked: an hour off on a node is nothing.
//! 2. An answer lies between question and answer; so the error of a sample is half of what it took, and grows by the
//!    drift of two clocks. The sample with the least error counts.
//!
//! What is judged by time is judged in the database, by its own clock. The estimate serves caches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use session_process::Timestamp;

/// By how much two clocks part, in parts of a million: what NTP takes for possible.
const DRIFT: i64 = 500;

#[derive(Debug)]
pub(crate) struct DatabaseClock {
    begun: Instant,
    /// What is to be added to the microseconds since then.
    offset: AtomicI64,
    best: Mutex<Option<Sample>>,
    /// Moved by tests; 0 otherwise. In microseconds.
    shift: Arc<AtomicI64>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    error: i64,
    at: Instant,
}

impl DatabaseClock {
    pub(crate) fn new(shift: Arc<AtomicI64>) -> Self {
        Self {
            begun: Instant::now(),
            offset: AtomicI64::new(0),
            best: Mutex::new(None),
            shift,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let since = micros(self.begun, Instant::now());
        Timestamp::from_micros(self.offset.load(Ordering::Acquire) + since + self.shift())
    }

    pub(crate) fn shift(&self) -> i64 {
        self.shift.load(Ordering::Acquire)
    }

    /// The database said that it was `then`, asked at `asked` and heard at `heard`.
    pub(crate) fn learn(&self, then: i64, asked: Instant, heard: Instant) {
        let error = micros(asked, heard) / 2 + 1;
        let mut best = self.best.lock();
        let better = best.is_none_or(|best| error <= best.error + micros(best.at, heard) * DRIFT / 1_000_000);
        if better {
            *best = Some(Sample { error, at: heard });
            let middle = (micros(self.begun, asked) + micros(self.begun, heard)) / 2;
            self.offset.store(then - middle, Ordering::Release);
        }
    }
}

fn micros(from: Instant, to: Instant) -> i64 {
    i64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_quickest_answer_counts_until_it_is_old() {
        let clock = DatabaseClock::new(Arc::default());
        let at = |millis| clock.begun + Duration::from_millis(millis);
        clock.learn(1_000_000, at(0), at(2));
        assert_eq!(clock.offset.load(Ordering::Acquire), 999_000);
        // Slow, and wrong by what it took.
        clock.learn(1_000_000, at(10), at(1_000));
        assert_eq!(clock.offset.load(Ordering::Acquire), 999_000);
        // As slow, after hours.
        clock.learn(20_000_000_000, at(20_000_000), at(20_001_000));
        assert_eq!(clock.offset.load(Ordering::Acquire), -500_000);
    }
}
