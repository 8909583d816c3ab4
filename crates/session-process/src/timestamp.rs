//! [`Timestamp`]: a point in calendar time, for what outlives a process.

use std::{fmt, time::Duration};

/// Microseconds since the Unix epoch, by whichever clock the context names.
///
/// Inside an engine time is monotonic and private. What is written down for later (when a record was made, when an
/// attribute expires) needs calendar time: that of the store, which all nodes share. Microseconds are what PostgreSQL
/// keeps. The range is that of an `i64`, 292,000 years, so every store can hold it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Later than every other: "never".
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The system's clock, which an administrator may set and which may jump.
    #[must_use]
    pub fn system() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A system that believes to live before 1970 is at the epoch.
        Self(since.map_or(0, micros))
    }

    /// Later by `duration`; [`MAX`](Self::MAX) where that can't be told.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// Since `earlier`; zero if that is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06}s",
            self.0.div_euclid(1_000_000),
            self.0.rem_euclid(1_000_000)
        )
    }
}
