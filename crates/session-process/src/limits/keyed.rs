//! Starts a minute for one key, such as an address or a user: the `governor` crate (GCRA), on our clock.
//!
//! GCRA lets a key burst up to its limit and then refills evenly. It keeps one number for each key; keys that are
//! back at rest are dropped by [`KeyedRate::forget_idle`], which the sweeper calls.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::keyed::DefaultKeyedStateStore,
};

use crate::clock::Clock;

type Key = Box<str>;

pub(crate) struct KeyedRate {
    limit: u32,
    limiter: RateLimiter<Key, DefaultKeyedStateStore<Key>, OurClock, NoOpMiddleware<Instant>>,
    clock: OurClock,
}

impl KeyedRate {
    pub(crate) fn per_minute(limit: NonZeroU32, clock: Clock) -> Self {
        let clock = OurClock(clock);
        Self {
            limit: limit.get(),
            limiter: RateLimiter::new(
                Quota::per_minute(limit),
                DefaultKeyedStateStore::default(),
                clock.clone(),
            ),
            clock,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Counts a start for `key`.
    ///
    /// # Errors
    /// How long until the key's next start is allowed.
    pub(crate) fn admit(&self, key: &str) -> Result<(), Duration> {
        self.limiter
            .check_key(&Key::from(key))
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    pub(crate) fn forget_idle(&self) {
        self.limiter.retain_recent();
    }

    #[cfg(test)]
    fn keys(&self) -> usize {
        self.limiter.len()
    }
}

impl std::fmt::Debug for KeyedRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are addresses and users: not for a log.
        f.debug_struct("KeyedRate")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct OurClock(Clock);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Instant(u64);

impl governor::clock::Clock for OurClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        Instant(self.0.now())
    }
}

impl Reference for Instant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        Nanos::new(self.0.saturating_sub(earlier.0))
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

impl std::ops::Add<Nanos> for Instant {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0.saturating_add(duration.as_u64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    #[test]
    fn one_key_at_its_limit_leaves_the_others_alone() {
        let clock = ManualClock::new();
        let rate = KeyedRate::per_minute(NonZeroU32::new(3).unwrap(), Clock::Manual(clock.clone()));
        for _ in 0..3 {
            rate.admit("198.51.100.7").unwrap();
        }
        assert_eq!(rate.admit("198.51.100.7"), Err(Duration::from_secs(20)));
        rate.admit("198.51.100.8").unwrap();
        clock.advance(Duration::from_secs(20));
        rate.admit("198.51.100.7").unwrap();
    }

    #[test]
    fn keys_at_rest_are_forgotten() {
        let clock = ManualClock::new();
        let rate = KeyedRate::per_minute(NonZeroU32::new(3).unwrap(), Clock::Manual(clock.clone()));
        rate.admit("198.51.100.7").unwrap();
        clock.advance(Duration::from_secs(120));
        rate.forget_idle();
        assert_eq!(rate.keys(), 0);
    }
}
