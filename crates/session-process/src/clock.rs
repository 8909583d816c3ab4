//! Where the engine gets the time from: the system, or a test that drives it.
//!
//! Inside the engine an instant is the number of nanoseconds since the engine was built, as a `u64` that fits into an
//! atomic (584 years of it).

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

#[cfg(any(test, feature = "testing"))]
pub use manual::ManualClock;

use crate::Timestamp;

/// The source of time of one engine.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    System(SystemClock),
    #[cfg(any(test, feature = "testing"))]
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn system(runtime: tokio::runtime::Handle) -> Self {
        Self::System(SystemClock::start(runtime))
    }

    /// Nanoseconds since the engine was built.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System(clock) => clock.now(),
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.nanos(),
        }
    }

    /// The time of the calendar, for what is written down. A test's clock began at the Unix epoch.
    #[inline]
    pub(crate) fn calendar(&self) -> Timestamp {
        match self {
            Self::System(_) => SystemClock::calendar(),
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.timestamp(),
        }
    }

    pub(crate) async fn sleep_until(&self, instant: u64) {
        match self {
            Self::System(clock) => sleep_until(&clock.runtime, || clock.now(), instant).await,
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.reached(instant).await,
        }
    }

    /// What `future` comes to, if it does so before `deadline`.
    pub(crate) async fn before<T>(&self, deadline: u64, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut time_is_up = pin!(self.sleep_until(deadline));
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            time_is_up.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().saturating_add(nanos(duration))).await;
    }
}

/// Sleeps until `now`, which is no clock of tokio's, says `instant`.
pub(crate) async fn sleep_until(runtime: &tokio::runtime::Handle, now: impl Fn() -> u64, instant: u64) {
    // Again if need be: tokio's clock and ours tick at different moments.
    loop {
        let rest = instant.saturating_sub(now());
        if rest == 0 {
            return;
        }
        // Made in the engine's runtime: the caller's may have no timers, or be none.
        let sleep = {
            let _in = runtime.enter();
            tokio::time::sleep(Duration::from_nanos(rest))
        };
        sleep.await;
    }
}

/// The system's monotonic clock, at the resolution of the kernel's tick where there is one to be had.
///
/// A session's clock is read with every message, and time limits are seconds to weeks. On Linux the kernel keeps the
/// time of its last tick (1 to 10 ms ago, by its configuration) for whoever asks, at a fifth of what an exact reading
/// costs. Durations that are reported are measured exactly: the events do so with `Instant`.
#[derive(Debug, Clone)]
pub(crate) struct SystemClock {
    runtime: tokio::runtime::Handle,
    monotonic: Monotonic,
}

impl SystemClock {
    fn start(runtime: tokio::runtime::Handle) -> Self {
        Self {
            runtime,
            monotonic: Monotonic::start(),
        }
    }

    #[inline]
    fn now(&self) -> u64 {
        self.monotonic.elapsed()
    }

    #[cfg(target_os = "linux")]
    #[inline]
    fn calendar() -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let micros = time.tv_sec.saturating_mul(1_000_000);
        Timestamp::from_micros(micros.saturating_add(time.tv_nsec / 1_000).max(0))
    }

    #[cfg(not(target_os = "linux"))]
    fn calendar() -> Timestamp {
        Timestamp::system()
    }
}

/// Nanoseconds since it was started, on the system's monotonic clock; see [`SystemClock`] for its resolution.
#[derive(Debug, Clone)]
pub(crate) struct Monotonic {
    #[cfg(target_os = "linux")]
    epoch: u64,
    #[cfg(not(target_os = "linux"))]
    epoch: std::time::Instant,
}

impl Monotonic {
    #[cfg(target_os = "linux")]
    pub(crate) fn start() -> Self {
        Self {
            epoch: Self::last_tick(),
        }
    }

    #[cfg(target_os = "linux")]
    #[inline]
    pub(crate) fn elapsed(&self) -> u64 {
        Self::last_tick() - self.epoch
    }

    #[cfg(target_os = "linux")]
    #[inline]
    fn last_tick() -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        // Seconds and nanoseconds since the machine started: neither is ever negative.
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn start() -> Self {
        Self {
            epoch: std::time::Instant::now(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn elapsed(&self) -> u64 {
        nanos(self.epoch.elapsed())
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

    use crate::Timestamp;

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

        /// The time on this clock as calendar time, for a store: the Unix epoch is its zero.
        ///
        /// ```
        /// use std::time::Duration;
        /// use session_process::{ManualClock, Timestamp};
        ///
        /// let clock = ManualClock::new();
        /// clock.advance(Duration::from_secs(1));
        /// assert_eq!(clock.timestamp(), Timestamp::from_micros(1_000_000));
        /// ```
        #[must_use]
        pub fn timestamp(&self) -> Timestamp {
            Timestamp::default().saturating_add(self.elapsed())
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
