//! A sliding window: at most `limit` starts in any minute.
//!
//! Exact, and constant in cost: it keeps the times of the last `limit` starts in a ring, and the oldest of them tells
//! whether one more fits. Eight bytes for each start that is allowed in a minute, allocated as they come.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

/// The window that the limit counts in.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct SlidingWindow {
    limit: u32,
    window: u64,
    starts: Mutex<VecDeque<u64>>,
}

impl SlidingWindow {
    pub(crate) fn per_minute(limit: u32) -> Self {
        Self {
            limit,
            window: crate::clock::nanos(MINUTE),
            starts: Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Counts a start at `now` if `reserve` agrees, all in one step.
    ///
    /// # Errors
    /// How long until the next start is allowed; or the error of `reserve`, and then nothing is counted.
    pub(crate) fn admit<E>(&self, now: u64, reserve: impl FnOnce() -> Result<(), E>) -> Result<(), Refused<E>> {
        let mut starts = self.starts.lock();
        if let Some(last) = starts.back().copied()
            && last.saturating_sub(now) > self.window
        {
            // The clock has gone back: as if it had always gone like this.
            for start in starts.iter_mut() {
                *start = now.saturating_sub(last - *start);
            }
        }
        // Clocks of two threads may be read in one order and get here in the other.
        let now = starts.back().map_or(now, |last| now.max(*last));
        if starts.len() >= self.limit as usize {
            let oldest = *starts.front().expect("the limit is above zero");
            let free_at = oldest.saturating_add(self.window);
            if now < free_at {
                return Err(Refused::Rate {
                    retry_after: Duration::from_nanos(free_at - now),
                });
            }
        }
        reserve().map_err(Refused::Other)?;
        if starts.len() >= self.limit as usize {
            starts.pop_front();
        }
        starts.push_back(now);
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused<E> {
    Rate { retry_after: Duration },
    Other(E),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_that_goes_back_refuses_nothing_for_longer() {
        let window = SlidingWindow::per_minute(2);
        let minute = crate::clock::nanos(MINUTE);
        let free = |now| window.admit(now, || Ok::<_, ()>(()));
        let late = 1_000 * minute;
        assert_eq!((free(late), free(late + minute / 2)), (Ok(()), Ok(())));
        let Err(Refused::Rate { retry_after }) = free(5 * minute) else {
            panic!("two were half a minute ago")
        };
        assert_eq!(retry_after, MINUTE / 2);
        assert_eq!(free(5 * minute + minute / 2), Ok(()));
    }

    #[test]
    fn a_refused_start_takes_no_place() {
        let window = SlidingWindow::per_minute(1);
        assert_eq!(window.admit(0, || Err("full")), Err(Refused::Other("full")));
        assert_eq!(window.admit(0, || Ok::<_, ()>(())), Ok(()));
        assert!(window.admit(1, || Ok::<_, ()>(())).is_err());
    }

    proptest! {
        /// Against the plain definition: count the admitted starts of the last minute, all of them, each time.
        #[test]
        fn it_admits_what_a_full_count_would(
            limit in 1u32..20,
            steps in proptest::collection::vec(0u64..20_000_000_000, 1..200),
        ) {
            let window = SlidingWindow::per_minute(limit);
            let minute = MINUTE.as_nanos() as u64;
            let mut admitted: Vec<u64> = Vec::new();
            let mut now = 0;
            for step in steps {
                now += step;
                let recent = admitted.iter().filter(|at| now - **at < minute).count();
                let expected = recent < limit as usize;
                prop_assert_eq!(window.admit(now, || Ok::<_, ()>(())).is_ok(), expected);
                if expected {
                    admitted.push(now);
                }
            }
        }
    }
}
