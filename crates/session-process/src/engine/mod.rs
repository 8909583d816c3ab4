//! The engine: one live process for each session, on one node.
//!
//! ```text
//! Sessions ── deliver ──► Session ── mailbox (run right) ──► run ──► the user's handler
//!     │                      ▲                                │
//!     └── lifecycle ─────────┤                                └─► lifecycle (end, crash)
//!                        registry ◄── sweep, shutdown
//! ```

mod chain;
mod deliver;
mod guard;
mod keep;
mod lifecycle;
mod mailbox;
#[cfg(test)]
mod mailbox_tests;
mod near;
mod observe;
mod one_life;
mod registry;
mod room;
mod rotate;
mod run;
mod session;
mod shutdown;
mod side;
mod sweep;
mod table;
mod ticket;

mod life;
#[cfg(test)]
mod life_tests;

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

#[cfg(any(test, feature = "testing"))]
pub(crate) use self::sweep::sweep_all;
pub(crate) use self::{
    chain::in_a_handler,
    deliver::{call, cast, post_to_itself, push_to, send_to_itself, settled},
    guard::caught,
    lifecycle::{ended, start, wake_up},
    observe::observe,
    rotate::rotate,
    session::{AnySession, Leftover, Session},
};
use self::{lifecycle::Recipe, near::Near, registry::Registry};
pub use self::{
    registry::Cursor,
    session::{Monitor, SessionStats},
    shutdown::ShutdownReport,
};
use crate::{
    Config, Process, SessionId, StartError,
    clock::Clock,
    events::{self, Event, Events},
    limits::{KeyedRate, Refused, SlidingWindow},
    records::SessionRecords,
    store::SessionKey,
    sync::Mutex,
};

pub(crate) type Extensions = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// What all sessions of an engine share.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    near: Option<Near>,
    pub(crate) events: Events,
    pub(crate) extensions: Extensions,
    pub(crate) records: Option<SessionRecords>,
    /// Durable sessions in memory.
    by_key: Mutex<HashMap<SessionKey, Weak<dyn AnySession>>>,
    looks: Mutex<one_life::Looks>,
    runtime: tokio::runtime::Handle,
    runtime_id: tokio::runtime::Id,
    rate: Option<SlidingWindow>,
    keyed_rate: Option<KeyedRate>,
    closing: AtomicBool,
    /// Until when it may take; 0 while it is not shut down.
    shut_down_by: AtomicU64,
    emptied: Notify,
    started: AtomicU64,
    ended: AtomicU64,
}

impl Engine {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        extensions: Extensions,
        records: Option<SessionRecords>,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        let engine = Arc::new(Self {
            registry: Registry::new(),
            near: Near::of(runtime.metrics().num_workers()),
            events: Events::new(),
            rate: config.rate_limit.map(SlidingWindow::per_minute),
            keyed_rate: config
                .rate_limit_per_key
                .and_then(NonZeroU32::new)
                .map(|limit| KeyedRate::per_minute(limit, clock.clone())),
            config,
            clock,
            extensions,
            records,
            by_key: Mutex::default(),
            looks: Mutex::default(),
            runtime_id: runtime.id(),
            runtime,
            closing: AtomicBool::new(false),
            shut_down_by: AtomicU64::new(0),
            emptied: Notify::new(),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        });
        sweep::spawn(&engine);
        one_life::watch(&engine);
        engine
    }

    /// For what must come to its end whatever becomes of who asked for it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(task)
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The deadline of the shutdown; 0 if there is none.
    pub(crate) fn shut_down_by(&self) -> u64 {
        self.shut_down_by.load(Ordering::Acquire)
    }

    pub(crate) fn started_total(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn ended_total(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Lets one more session in, or says which limit is in the way. Called under the registry's lock, which makes
    /// all limits exact: nobody else can take the id, and a place that was refused is not taken for a moment.
    fn admit(&self, now: u64, key: Option<&str>) -> Result<(), StartError> {
        if self.is_closing() {
            return Err(StartError::ShuttingDown);
        }
        // First, so that a key that hammers can't use up what is for all. A start that then fails on another limit
        // still counts against its key.
        if let (Some(rate), Some(key)) = (&self.keyed_rate, key) {
            rate.admit(key).map_err(|retry_after| StartError::KeyRateLimit {
                per_minute: rate.limit(),
                retry_after,
            })?;
        }
        let max = self.config.max_sessions;
        let reserve = || {
            let reserved = self.registry.reserve(max);
            reserved.then_some(()).ok_or(StartError::SessionLimit { max })
        };
        match &self.rate {
            None => reserve(),
            Some(rate) => rate.admit(now, reserve).map_err(|refused| match refused {
                Refused::Other(error) => error,
                Refused::Rate { retry_after } => StartError::RateLimit {
                    per_minute: rate.limit(),
                    retry_after,
                },
            }),
        }
    }

    /// Lets a session back in that was started before: no start by the limits, but it takes a place.
    fn admit_back(&self) -> Result<(), StartError> {
        if self.is_closing() {
            return Err(StartError::ShuttingDown);
        }
        let max = self.config.max_sessions;
        let reserved = self.registry.reserve(max);
        reserved.then_some(()).ok_or(StartError::SessionLimit { max })
    }

    /// The session with this id, for a message to it.
    #[inline]
    fn find(&self, id: &SessionId) -> Option<Arc<dyn AnySession>> {
        let hash = self.registry.hash(id);
        let near = self.near.as_ref();
        near.and_then(|near| near.get(hash, id)).or_else(|| {
            let found = self.registry.get_by(hash, id)?;
            if let Some(near) = near
                && !found.is_closed()
            {
                near.note(hash, &found);
            }
            Some(found)
        })
    }

    /// Notes a durable session that is about to begin, so that it ends with its record.
    fn know<P: Process>(&self, session: &Arc<Session<P>>) {
        if session.kept.is_some() {
            let key = SessionKey::of(&session.id());
            let session = Arc::downgrade(session) as Weak<dyn AnySession>;
            self.by_key.lock().insert(key, session);
        }
    }

    /// Takes an ended session out of the registry.
    fn forget(&self, session: &dyn AnySession) {
        if session.kept().is_some() {
            let key = SessionKey::of(&session.id());
            let mut by_key = self.by_key.lock();
            if by_key
                .get(&key)
                .is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), session))
            {
                by_key.remove(&key);
            }
        }
        let last = self.registry.remove(session);
        self.ended.fetch_add(1, Ordering::Relaxed);
        if last && self.is_closing() {
            self.emptied.notify_waiters();
        }
    }

    /// Tells of a start that a limit refused; false if it was refused for another reason.
    fn emit_limited(&self, error: &StartError) -> bool {
        let limited = matches!(
            error,
            StartError::SessionLimit { .. } | StartError::RateLimit { .. } | StartError::KeyRateLimit { .. }
        );
        if limited {
            let limit = error.kind();
            self.events.emit(|| Event::Limited { limit });
        }
        limited
    }
}

/// Owns an engine: when the last [`Sessions`](crate::Sessions) of it is dropped, its sessions are dropped too.
pub(crate) struct Owner(pub(crate) Arc<Engine>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.closing.store(true, Ordering::Release);
        let mut unsaved = 0usize;
        // The sweeper holds the engine weakly, and ends by itself.
        for session in self.0.registry.clear() {
            unsaved += usize::from(session.is_unsaved());
            // One process whose drop panics must not keep the others.
            let _ = guard::drop_quietly(session);
        }
        if unsaved > 0 {
            events::warn_of_unsaved(unsaved);
        }
    }
}
