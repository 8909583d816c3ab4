//! [`Builder`]: from limits to a running engine.

use std::{
    any::{TypeId, type_name},
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use crate::{
    Attributes, BuildError, Config, Process, Sessions,
    clock::Clock,
    engine::{Engine, Extensions},
    events,
    records::SessionRecords,
};

/// Builds an engine. Made by [`Sessions::builder`]; the defaults and their reasons are in [`Config`].
///
/// ```
/// use std::time::Duration;
/// use session_process::{Process, Sessions};
///
/// #[derive(Default)]
/// struct Cart;
/// impl Process for Cart {}
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::<Cart>::builder()
///     .idle_timeout(Duration::from_secs(30 * 60))
///     .max_lifetime(None)
///     .max_sessions(10_000)
///     .build()?;
/// # Ok(()) }
/// ```
#[must_use = "nothing happens before `build`"]
pub struct Builder<P = Attributes> {
    config: Config,
    clock: Option<Clock>,
    extensions: Extensions,
    records: Option<SessionRecords>,
    process: PhantomData<fn() -> P>,
}

impl<P: Process> Builder<P> {
    pub(crate) fn new() -> Self {
        Self {
            config: Config::default(),
            clock: None,
            extensions: Extensions::new(),
            records: None,
            process: PhantomData,
        }
    }

    /// All limits at once, for example from a file. In place of whatever was set before.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How many sessions may live at a time. Exact, also when many are started at once. Default: 1,000,000.
    pub fn max_sessions(mut self, max: usize) -> Self {
        self.config.max_sessions = max;
        self
    }

    /// How many sessions may be started in any minute, in all. A sliding window: exact, and constant in cost.
    /// Default: none; see [`Config`] for why.
    pub fn rate_limit(mut self, starts_a_minute: impl Into<Option<u32>>) -> Self {
        self.config.rate_limit = starts_a_minute.into();
        self
    }

    /// How many sessions may be started in a minute for one key, by a leaky bucket (GCRA: a burst of this many, then
    /// evenly, so up to twice as many in the first minute): an address or a user, given with
    /// [`StartOptions::key`]. Default: none.
    pub fn rate_limit_per_key(mut self, starts_a_minute: impl Into<Option<u32>>) -> Self {
        self.config.rate_limit_per_key = starts_a_minute.into();
        self
    }

    /// How long a session may go unused. `None`: for good. Default: one hour.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        self
    }

    /// How old a session may become, however much it is used. `None`: any age. Default: 30 days.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = lifetime.into();
        self
    }

    /// How many messages may wait for one session. Default: 1,000.
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.config.mailbox_capacity = messages;
        self
    }

    /// How long a call waits for its reply. Default: 15 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.config.call_timeout = timeout;
        self
    }

    /// How long a terminate hook may take. Default: 5 seconds.
    pub fn terminate_timeout(mut self, timeout: Duration) -> Self {
        self.config.terminate_timeout = timeout;
        self
    }

    /// How often expired sessions are looked for. Default: one second.
    pub fn sweep_interval(mut self, interval: Duration) -> Self {
        self.config.sweep_interval = interval;
        self
    }

    /// Where durable processes keep their state: see [`Durability`](crate::Durability). Without records every process
    /// is volatile, whatever its type says.
    ///
    /// A session and its record have one life: who ends one ends the other, here or on another node.
    pub fn records(mut self, records: SessionRecords) -> Self {
        self.records = Some(records);
        self
    }

    /// How long a durable process may go unused before it is put to sleep: its state is in the store, its memory is
    /// freed, and the next message brings it back. A session that somebody [monitors](Sessions::monitor), or that has
    /// timers or effects, stays awake. Default: `None`, never.
    pub fn sleep_after(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.sleep_after = after.into();
        self
    }

    /// Something that processes may use, such as a pool of connections:
    /// [`Context::extension`](crate::Context::extension). One of each type.
    pub fn extension<T: std::any::Any + Send + Sync>(mut self, value: T) -> Self {
        self.extensions.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// A clock that a test drives, in place of the system's.
    #[cfg(any(test, feature = "testing"))]
    pub fn clock(mut self, clock: crate::ManualClock) -> Self {
        self.clock = Some(Clock::Manual(clock));
        self
    }

    /// Builds the engine and starts its sweeper.
    ///
    /// # Errors
    /// [`BuildError`] if there is no tokio runtime, a limit is zero, or an option needs [`records`](Self::records).
    pub fn build(self) -> Result<Sessions<P>, BuildError> {
        let config = self.config;
        let zero = |option, hint| Err(BuildError::Zero { option, hint });
        if config.max_sessions == 0 {
            return zero("max_sessions", "no session could ever start");
        }
        if config.rate_limit == Some(0) {
            return zero("rate_limit", "no session could ever start; use `None` for no limit");
        }
        if config.rate_limit_per_key == Some(0) {
            return zero(
                "rate_limit_per_key",
                "no session could ever start; use `None` for no limit",
            );
        }
        if config.mailbox_capacity == 0 {
            return zero("mailbox_capacity", "a busy session would refuse every message");
        }
        for (option, duration) in [
            ("idle_timeout", config.idle_timeout),
            ("max_lifetime", config.max_lifetime),
            ("sleep_after", config.sleep_after),
        ] {
            if duration == Some(Duration::ZERO) {
                return zero(option, "it would be over at once; use `None` for no time limit");
            }
        }
        for (option, duration) in [
            ("call_timeout", config.call_timeout),
            ("terminate_timeout", config.terminate_timeout),
            ("sweep_interval", config.sweep_interval),
        ] {
            if duration.is_zero() {
                return zero(option, "nothing can be done in no time");
            }
        }
        if self.records.is_none() {
            if config.sleep_after.is_some() {
                return Err(BuildError::NoRecords { option: "sleep_after" });
            }
            // Attributes are durable wherever there are records, and nobody asked for it.
            if P::DURABILITY.0.is_some() && TypeId::of::<P>() != TypeId::of::<Attributes>() {
                events::warn_of_no_records(type_name::<P>());
            }
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let clock = self.clock.unwrap_or_else(|| Clock::system(runtime.clone()));
        Ok(Sessions::new(Engine::new(
            config,
            clock,
            self.extensions,
            self.records,
            runtime,
        )))
    }
}

impl<P> fmt::Debug for Builder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What is special about one start. See [`Sessions::start_with_options`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct StartOptions {
    pub(crate) idle_timeout: Option<Option<Duration>>,
    pub(crate) max_lifetime: Option<Option<Duration>>,
    pub(crate) key: Option<Box<str>>,
}

impl StartOptions {
    /// Nothing special.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another idle timeout than the engine's, for this session; `None`: none. With zero it expires at once.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = Some(timeout.into());
        self
    }

    /// Another lifetime than the engine's, for this session; `None`: any age. With zero it expires at once.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = Some(lifetime.into());
        self
    }

    /// Whom this start counts for under [`Builder::rate_limit_per_key`]: an address, a user.
    pub fn key(mut self, key: impl Into<Box<str>>) -> Self {
        self.key = Some(key.into());
        self
    }
}
