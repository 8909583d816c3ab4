//! [`RecordsBuilder`]: from limits to records.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    SessionRecords,
    access::Accesses,
    backend::Backend,
    background,
    cache::RecordCache,
    config::{CacheLimit, RecordsConfig},
    core::Core,
    endings::{Ending, Endings},
};
use crate::{
    BuildError, attributes,
    clock::Clock,
    events::Events,
    store::{OwnerLimit, SessionStore},
};

/// Builds [`SessionRecords`]. The defaults and their reasons are in [`RecordsConfig`].
#[must_use = "nothing happens before `build`"]
pub struct RecordsBuilder {
    store: Arc<dyn SessionStore>,
    config: RecordsConfig,
    clock: Option<Clock>,
    endings: Endings,
}

impl RecordsBuilder {
    pub(super) fn new(store: Arc<dyn SessionStore>) -> Self {
        Self {
            store,
            config: RecordsConfig::default(),
            clock: None,
            endings: Endings::default(),
        }
    }

    /// All limits at once. In place of whatever was set before.
    pub fn config(mut self, config: RecordsConfig) -> Self {
        self.config = config;
        self
    }

    /// How many sessions a user may have. Default: 20, and the longest unused makes room.
    pub fn sessions_per_user(mut self, limit: impl Into<Option<OwnerLimit>>) -> Self {
        self.config.sessions_per_user = limit.into();
        self
    }

    /// How much the attributes of a session may hold.
    pub fn attributes(mut self, limits: attributes::Limits) -> Self {
        self.config.attributes = limits;
        self
    }

    /// How old a session may become, however much it is used. `None`: any age. Default: 30 days.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = lifetime.into();
        self
    }

    /// How long a session may go unused. `None`: for good. Default: 48 hours.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        self
    }

    /// How much is kept in memory. Default: 10,000 sessions.
    pub fn cache(mut self, limit: CacheLimit) -> Self {
        self.config.cache = limit;
        self
    }

    /// How long a cached session is served before it is read again. Zero: it is read each time. Default: 60 seconds.
    pub fn cache_max_age(mut self, age: Duration) -> Self {
        self.config.cache_max_age = age;
        self
    }

    /// For how long cached sessions are served while the store is away, counted from when it was last heard: reads of
    /// them ask the store first, for a fifth of a second, and their views are not
    /// [current](super::SessionView::is_current). Writes fail as ever. `None`: not at all, and a read is an error.
    /// Default: `None`.
    pub fn cached_while_away(mut self, bound: impl Into<Option<Duration>>) -> Self {
        self.config.cached_while_away = bound.into();
        self
    }

    /// When accesses go to the store: after this time, or when this many sessions were used. Default: 60 seconds,
    /// 100,000 sessions.
    pub fn access_flush(mut self, interval: Duration, sessions: usize) -> Self {
        self.config.access_interval = interval;
        self.config.access_batch = sessions;
        self
    }

    /// How often expired sessions are removed from the store. `None`: never. Default: every 60 seconds.
    pub fn cleanup_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.config.cleanup_interval = interval.into();
        self
    }

    /// How long the store may take to answer. Default: 3 seconds.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.config.store_timeout = timeout;
        self
    }

    /// Tells `observer` of every session that ends, before whatever ended it returns. It runs on the thread of whoever
    /// ended the session, so it must be quick; see [`SessionRecords::on_ending`].
    pub fn on_ending(self, observer: impl Fn(&Ending) + Send + Sync + 'static) -> Self {
        self.endings.observe(Arc::new(observer));
        self
    }

    /// A clock that a test drives, in place of the system's. It times the waiting; what time it is says the store.
    #[cfg(any(test, feature = "testing"))]
    pub fn clock(mut self, clock: crate::ManualClock) -> Self {
        self.clock = Some(Clock::Manual(clock));
        self
    }

    /// Builds the records and starts their tasks in this runtime.
    ///
    /// # Errors
    /// [`BuildError`] if there is no tokio runtime, or a limit is zero.
    pub fn build(self) -> Result<SessionRecords, BuildError> {
        let config = self.config;
        config.check()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let clock = self.clock.unwrap_or_else(|| Clock::system(runtime.clone()));
        let core = Arc::new(Core {
            backend: Backend {
                store: self.store,
                clock,
                limit: config.store_timeout,
            },
            cache: RecordCache::new(config.cache, config.cache_max_age, config.cached_while_away),
            accesses: Accesses::new(config.access_interval, config.access_batch),
            loads: Default::default(),
            desks: Default::default(),
            endings: self.endings,
            events: Events::new(),
            runtime,
            config,
        });
        let closing = watch::Sender::new(false);
        background::start(&core, &closing.subscribe());
        Ok(SessionRecords {
            core,
            closing: Arc::new(closing),
        })
    }
}

impl fmt::Debug for RecordsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
