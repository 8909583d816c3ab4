//! Where the engine gets the time from: the system, or a test that drives it.
//!
//! Inside the engine an instant is the number of nanoseconds since the engine was built, as a `u64` that fits into an
//! atomic (584 years of it).

use std::time::Duration;

use tokio::time::Instant;

#[cfg(any(test, feature = "testing"))]
pub use manual::ManualClock;

/// The source of time of one engine.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// tokio's clock: monotonic, and it follows `tokio::time::pause` in tests that use it.
    System(Instant),
    #[cfg(any(test, feature = "testing"))]
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }

    /// Nanoseconds since the engine was built.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System(epoch) => nanos(epoch.elapsed()),
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.nanos(),
        }
    }

    pub(crate) async fn sleep_until(&self, instant: u64) {
        match self {
            Self::System(epoch) => tokio::time::sleep_until(*epoch + Duration::from_nanos(instant)).await,
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.reached(instant).await,
        }
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().saturating_add(nanos(duration))).await;
    }
}

/// A duration in nanoseconds; more than 584 years are as good as forever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(any(test, feature = "testing"))]
mod manual {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use tokio::sync::Notify;

    /// A clock that stands still until a test moves it. Give it to [`Builder::clock`](crate::Builder::clock).
    ///
    /// ```
    /// use std::time::Duration;
    /// use session_process::ManualClock;
    ///
    /// let clock = ManualClock::new();
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(clock.elapsed(), Duration::from_secs(60));
    /// ```
    #[derive(Debug, Clone, Default)]
    pub struct ManualClock(Arc<Inner>);

    #[derive(Debug, Default)]
    struct Inner {
        nanos: AtomicU64,
        moved: Notify,
    }

    impl ManualClock {
        /// A clock at zero.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// Moves the clock on and wakes whoever waits for a time that has come.
        pub fn advance(&self, by: Duration) {
            self.0.nanos.fetch_add(super::nanos(by), Ordering::AcqRel);
            self.0.moved.notify_waiters();
        }

        /// Sets the clock, also backwards: the engine must bear with a clock that jumps.
        pub fn set(&self, elapsed: Duration) {
            self.0.nanos.store(super::nanos(elapsed), Ordering::Release);
            self.0.moved.notify_waiters();
        }

        /// The time on this clock, counted from zero.
        #[must_use]
        pub fn elapsed(&self) -> Duration {
            Duration::from_nanos(self.nanos())
        }

        pub(super) fn nanos(&self) -> u64 {
            self.0.nanos.load(Ordering::Acquire)
        }

        pub(super) async fn reached(&self, instant: u64) {
            loop {
                let moved = self.0.moved.notified();
                if self.nanos() >= instant {
                    return;
                }
                moved.await;
            }
        }
    }
}
