//! [`Limits`] of live pages, with their reasons.

use std::{num::NonZeroU32, time::Duration};

/// What pages may do. Each has a method of [`Live`](super::Live).
///
/// | | Default | Why |
/// |---|---|---|
/// | heartbeat | 15 s | Proxies close what is silent for 30 to 60 s; a page that hears nothing for two of them connects again. |
/// | least interval | 50 ms | Twenty views a second look like motion; what comes in between is told with the next. |
/// | warning | 60 s | Time to move the pointer. |
/// | pages of a session | 32 | Tabs of one browser. |
/// | pages of a user | 128 | Of all devices. Of no account where users are not told apart. |
/// | pages in all | 100,000 | About 1 GB with the connections under them. |
/// | frames a second | 20, and 40 at once | For one session, from its pages. |
/// | a frame from a page | 64 KiB | Fixed. (axum's own limit is 64 MiB.) |
/// | a view | 1 MiB | Larger ones belong into a request of their own. |
/// | write timeout | 30 s | Who takes nothing for so long is closed. A page gives up after two heartbeats too; and a view of 1 MiB gets through at 35 kB/s. |
/// | resume | 60 s | How long a session without pages is kept up to date for those that come back. |
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) heartbeat: Duration,
    pub(crate) min_interval: Duration,
    pub(crate) warning: Duration,
    pub(crate) pages_of_session: usize,
    pub(crate) pages_of_user: usize,
    pub(crate) pages: usize,
    pub(crate) frames_per_second: NonZeroU32,
    pub(crate) max_view: usize,
    pub(crate) write_timeout: Duration,
    pub(crate) resume: Duration,
}

/// The largest frame that a page may send, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// `active` counts once in this time. A page that says it more often keeps its session no longer.
pub(crate) const ACTIVE_EVERY: Duration = Duration::from_secs(30);

impl Default for Limits {
    fn default() -> Self {
        const FRAMES: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
        Self {
            heartbeat: Duration::from_secs(15),
            min_interval: Duration::from_millis(50),
            warning: Duration::from_secs(60),
            pages_of_session: 32,
            pages_of_user: 128,
            pages: 100_000,
            frames_per_second: FRAMES,
            max_view: 1024 * 1024,
            write_timeout: Duration::from_secs(30),
            resume: Duration::from_secs(60),
        }
    }
}
