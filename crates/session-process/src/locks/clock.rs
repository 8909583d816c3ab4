//! The clock that a lease is trusted by.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{self, nanos};

/// Nanoseconds since some beginning. Unlike tokio's, it goes on while the machine sleeps, as the lease does.
#[derive(Debug, Clone)]
pub(super) enum LeaseClock {
    System {
        runtime: Handle,
        #[cfg(not(target_os = "linux"))]
        begun: std::time::Instant,
    },
    #[cfg(any(test, feature = "testing"))]
    Manual(clock::Clock),
}

impl LeaseClock {
    pub(super) fn system(runtime: Handle) -> Self {
        Self::System {
            runtime,
            #[cfg(not(target_os = "linux"))]
            begun: std::time::Instant::now(),
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn now(&self) -> u64 {
        match self {
            Self::System { .. } => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                // Since the machine started: neither is ever negative.
                time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
            }
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.now(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn now(&self) -> u64 {
        match self {
            Self::System { begun, .. } => nanos(begun.elapsed()),
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.now(),
        }
    }

    pub(super) fn after(&self, duration: Duration) -> u64 {
        self.now().saturating_add(nanos(duration))
    }

    pub(super) async fn sleep_until(&self, instant: u64) {
        match self {
            Self::System { runtime, .. } => clock::sleep_until(runtime, || self.now(), instant).await,
            #[cfg(any(test, feature = "testing"))]
            Self::Manual(clock) => clock.sleep_until(instant).await,
        }
    }
}
