//! [`RecordsConfig`]: every limit of [`SessionRecords`](super::SessionRecords), with its default and the reason for it.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    BuildError,
    attributes::Limits,
    store::{OwnerLimit, OwnerLimitPolicy},
};

/// The limits of [`SessionRecords`](super::SessionRecords).
///
/// | Option | Ours | gopgsession | Why |
/// |---|---|---|---|
/// | `sessions_per_user` | 20, the longest unused makes room | 5 | Two browsers, a phone, a tablet and some private windows are more than five, and nobody should be signed out on the phone for them. A limit is there to end what is forgotten. |
/// | `attributes` | 16 KiB, 100 of them, keys of 128 bytes | 16 KiB, at updates only | See [`Limits`]. |
/// | `max_lifetime` | 30 days | 30 days | NIST SP 800-63B asks for re-authentication after 30 days at the latest at its lowest level of assurance. |
/// | `idle_timeout` | 48 h | 48 h | Who skips a day is still signed in. |
/// | `cache` | 10,000 sessions | 1,000 | A session without attributes takes about 0.5 KiB. |
/// | `cache_max_age` | 60 s | absent, later 1 h | The longest that a lost notice can matter; and how long a cached session is read while the store is away. |
/// | `cached_while_away` | absent: not at all | for good | A session that was ended elsewhere would go on meanwhile. Who would rather have that than 503 says for how long. |
/// | `access_interval`, `access_batch` | 60 s, 100,000 | 10 min, 5,000 | The list of one's sessions shows when each was last used, and one write a minute and session costs a store little. With 5,000, a node with 10,000 active sessions would write at each use; 100,000 take some 20 MB. |
/// | `cleanup_interval`, `cleanup_slice` | 60 s, 500 | 1 h, all | What has expired is absent without it; but processes and pages hear of their end by it. |
/// | `store_timeout` | 3 s | none | A visitor waits no longer, and a late answer is worse than "try again". |
/// | `update_attempts` | 16 | 1 | With that many writers on other nodes at one session, each still gets through. |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordsConfig {
    /// How many sessions a user may have. `None`: any number.
    pub sessions_per_user: Option<OwnerLimit>,
    /// How much the attributes of a session may hold.
    pub attributes: Limits,
    /// How old a session may become, however much it is used. `None`: any age.
    pub max_lifetime: Option<Duration>,
    /// How long a session may go unused. `None`: for good.
    pub idle_timeout: Option<Duration>,
    /// How much is kept in memory.
    pub cache: CacheLimit,
    /// How long a cached session is served before it is read again, whether or not a change was reported.
    pub cache_max_age: Duration,
    /// For how long cached sessions are served while the store is away and can't report changes; each view says so by
    /// [`is_current`](super::SessionView::is_current). `None`: not at all.
    pub cached_while_away: Option<Duration>,
    /// How long accesses gather in memory, at the most. Less for sessions whose idle timeout is near: see
    /// [`SessionRecords`](super::SessionRecords).
    pub access_interval: Duration,
    /// How many sessions' accesses gather in memory before they go to the store without waiting for the interval.
    pub access_batch: usize,
    /// How often expired sessions are removed from the store. `None`: never by these records; somebody else does it.
    pub cleanup_interval: Option<Duration>,
    /// How many are removed in one piece.
    pub cleanup_slice: usize,
    /// How long the store may take to answer.
    pub store_timeout: Duration,
    /// How often an update is tried that others get ahead of.
    pub update_attempts: u32,
}

/// How much a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheLimit {
    /// So many sessions.
    Entries(usize),
    /// So many bytes, by an estimate: texts, attributes and snapshots, and what a map takes for each.
    Bytes(usize),
}

impl Default for RecordsConfig {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            sessions_per_user: Some(OwnerLimit {
                max: const { NonZeroU32::new(20).unwrap() },
                policy: OwnerLimitPolicy::EvictOldest,
            }),
            attributes: Limits::default(),
            max_lifetime: Some(MINUTE * 60 * 24 * 30),
            idle_timeout: Some(MINUTE * 60 * 48),
            cache: CacheLimit::Entries(10_000),
            cache_max_age: MINUTE,
            cached_while_away: None,
            access_interval: MINUTE,
            access_batch: 100_000,
            cleanup_interval: Some(MINUTE),
            cleanup_slice: 500,
            store_timeout: Duration::from_secs(3),
            update_attempts: 16,
        }
    }
}

impl RecordsConfig {
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let zeros = [
            ("access_batch", self.access_batch == 0),
            ("cleanup_slice", self.cleanup_slice == 0),
            ("update_attempts", self.update_attempts == 0),
            ("cleanup_interval", self.cleanup_interval == Some(Duration::ZERO)),
            ("store_timeout", self.store_timeout.is_zero()),
        ];
        if let Some((option, _)) = zeros.into_iter().find(|(_, zero)| *zero) {
            return Err(BuildError::Zero {
                option,
                hint: "nothing can be done with none",
            });
        }
        for (option, duration) in [("idle_timeout", self.idle_timeout), ("max_lifetime", self.max_lifetime)] {
            if duration == Some(Duration::ZERO) {
                return Err(BuildError::Zero {
                    option,
                    hint: "sessions would expire at once; use `None` for no time limit",
                });
            }
        }
        Ok(())
    }
}
