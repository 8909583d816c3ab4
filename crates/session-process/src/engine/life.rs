//! The two clocks of a session: since it was last used, and since it was started.
//!
//! # Invariants
//! 1. An expired session stays expired. Whoever tells somebody that it is marks it, and every use is an exchange that
//!    fails from then on. So a use that succeeded is never followed by an idle expiry that didn't know of it, and who
//!    was told that a session has expired never meets it again. (This process of it. One that is durable, and in use at
//!    another node, only sleeps here: its end asks the store, and whoever then has it come meets what the record has.)
//! 2. A message at work that has to wait keeps its session in use: it doesn't idle, and nobody marks it. (Who is at work
//!    without having waited is soon done; the idle time of a handler that blocks its thread begins when it does.)
//! 3. A clock that goes backwards expires nothing early: differences saturate at zero.
//!
//! The models in `crates/models` compile this file against loom's types.

use std::time::Duration;

use crate::{
    clock::nanos,
    process::Expiry,
    sync::{AtomicU64, Ordering},
};

/// No time limit.
const NEVER: u64 = u64::MAX;
/// In `last_used`: judged expired, by the one limit or by the other.
const IDLED_OUT: u64 = u64::MAX - 1;
const PAST_DEADLINE: u64 = u64::MAX;

/// What it was judged, if it was.
fn judged(last_used: u64) -> Option<Expiry> {
    match last_used {
        IDLED_OUT => Some(Expiry::Idle),
        PAST_DEADLINE => Some(Expiry::Absolute),
        _ => None,
    }
}

/// When it was last used: written with each use, so it lies with what else a message writes.
#[derive(Debug)]
pub(crate) struct LastUsed(AtomicU64);

/// What each message reads and hardly anybody writes.
#[derive(Debug)]
pub(crate) struct Limits {
    idle: AtomicU64,
    /// An instant, not a duration.
    deadline: AtomicU64,
    started: AtomicU64,
}

/// The two of one session, wherever they lie in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life<'a> {
    last_used: &'a AtomicU64,
    limits: &'a Limits,
}

impl<'a> Life<'a> {
    #[inline]
    pub(crate) fn of(last_used: &'a LastUsed, limits: &'a Limits) -> Self {
        Self {
            last_used: &last_used.0,
            limits,
        }
    }

    /// Of a session that starts at `now`.
    pub(crate) fn begin(
        now: u64,
        idle_timeout: Option<Duration>,
        max_lifetime: Option<Duration>,
    ) -> (LastUsed, Limits) {
        let (last_used, limits) = (
            LastUsed(AtomicU64::new(now)),
            Limits {
                started: AtomicU64::new(now),
                idle: AtomicU64::new(NEVER),
                deadline: AtomicU64::new(NEVER),
            },
        );
        let life = Life::of(&last_used, &limits);
        life.set_idle_timeout(idle_timeout);
        life.set_max_lifetime(max_lifetime);
        (last_used, limits)
    }

    pub(crate) fn set_idle_timeout(self, timeout: Option<Duration>) {
        self.limits.idle.store(timeout.map_or(NEVER, nanos), Ordering::Relaxed);
    }

    /// Counted from the start.
    pub(crate) fn set_max_lifetime(self, lifetime: Option<Duration>) {
        let deadline = lifetime.map_or(NEVER, |lifetime| self.started().saturating_add(nanos(lifetime)));
        self.limits.deadline.store(deadline, Ordering::Relaxed);
    }

    /// Whether the session has expired at `now`, for good if so. For who has just taken the run right, and for whoever
    /// looks while it is not [in use](Self::look).
    #[inline]
    pub(crate) fn judge(self, now: u64) -> Option<Expiry> {
        self.decide(now, false, false)
    }

    /// The same, and notes a use if it has not.
    #[inline]
    pub(crate) fn judge_use(self, now: u64) -> Option<Expiry> {
        self.decide(now, false, true)
    }

    /// For the holder of the run right between two messages: whether it may begin another. It has been at work since the
    /// session was judged in time.
    #[inline]
    pub(crate) fn judge_at_work(self, now: u64) -> Option<Expiry> {
        self.decide(now, true, false)
    }

    /// Notes a use that is over. For the holder of the run right.
    #[inline]
    pub(crate) fn used(self, now: u64) {
        // If it has expired meanwhile, the next to come learns of it.
        let _ = self.decide(now, true, true);
    }

    /// Notes a use from outside; false if the session has expired. `in_use`: by a message that was in time, so that only
    /// its deadline counts. To be read before this is called.
    pub(crate) fn touch(self, now: u64, in_use: bool) -> bool {
        self.decide(now, in_use, true).is_none()
    }

    /// The same for a message that waits for the holder of the run right, who may find that it came too late.
    pub(crate) fn touch_if_in_time(self, now: u64, in_use: bool) {
        if !self.is_expired(now, in_use) {
            self.touch(now, in_use);
        }
    }

    /// Whether it has expired, for good if so. `in_use`: as for [`touch`](Self::touch).
    #[inline]
    pub(crate) fn look(self, now: u64, in_use: bool) -> Option<Expiry> {
        self.decide(now, in_use, false)
    }

    #[inline]
    fn decide(self, now: u64, in_use: bool, is_use: bool) -> Option<Expiry> {
        if self.past_deadline(now) {
            self.last_used.store(PAST_DEADLINE, Ordering::Release);
            return Some(Expiry::Absolute);
        }
        let mut used = self.last_used.load(Ordering::Acquire);
        loop {
            if let Some(expiry) = judged(used) {
                return Some(expiry);
            }
            let over = self.idle_at(now, used, in_use);
            let next = match over {
                true => IDLED_OUT,
                // The clock ticks a few hundred times a second, so most messages of a busy session write nothing.
                false if is_use && used < now => now,
                false => return None,
            };
            let exchange = self
                .last_used
                .compare_exchange(used, next, Ordering::AcqRel, Ordering::Acquire);
            match exchange {
                Ok(_) => return over.then_some(Expiry::Idle),
                Err(other) => used = other,
            }
        }
    }

    /// Whether its time is up, without a word to anybody else: it may yet be found in use.
    #[inline]
    pub(crate) fn is_expired(self, now: u64, in_use: bool) -> bool {
        let used = self.last_used.load(Ordering::Acquire);
        judged(used).is_some() || self.past_deadline(now) || self.idle_at(now, used, in_use)
    }

    #[inline]
    fn idle_at(self, now: u64, used: u64, in_use: bool) -> bool {
        let idle = self.limits.idle.load(Ordering::Relaxed);
        !in_use && idle != NEVER && now.saturating_sub(used) >= idle
    }

    #[inline]
    pub(crate) fn past_deadline(self, now: u64) -> bool {
        self.limits.deadline.load(Ordering::Relaxed) <= now
    }

    /// When it would expire if nobody used it any more. `u64::MAX`: never.
    pub(crate) fn expires_at(self) -> u64 {
        let used = self.last_used.load(Ordering::Acquire);
        if judged(used).is_some() {
            return 0;
        }
        used.saturating_add(self.limits.idle.load(Ordering::Relaxed))
            .min(self.limits.deadline.load(Ordering::Relaxed))
    }

    /// Which limit [`expires_at`](Self::expires_at) is.
    pub(crate) fn expires_by(self) -> Option<Expiry> {
        match self.expires_at() {
            NEVER => None,
            at if at == self.limits.deadline.load(Ordering::Relaxed) => Some(Expiry::Absolute),
            _ => Some(Expiry::Idle),
        }
    }

    /// When it will not have been used for `nanos`.
    pub(crate) fn idle_since(self, nanos: u64) -> u64 {
        self.last_used.load(Ordering::Acquire).saturating_add(nanos)
    }

    fn started(self) -> u64 {
        self.limits.started.load(Ordering::Relaxed)
    }

    /// What was set for a session that was just started: its idle timeout, and the time until its deadline.
    pub(crate) fn limits(self, now: u64) -> (Option<Duration>, Option<Duration>) {
        let limit = |nanos| (nanos != NEVER).then(|| Duration::from_nanos(nanos));
        let deadline = self.limits.deadline.load(Ordering::Relaxed);
        let rest = (deadline != NEVER).then(|| Duration::from_nanos(deadline.saturating_sub(now)));
        (limit(self.limits.idle.load(Ordering::Relaxed)), rest)
    }

    /// Goes on where a session was before it went to the store. Only for who is just starting it.
    pub(crate) fn resume(self, started: u64, used: u64, idle_timeout: Option<Duration>, deadline: Option<u64>) {
        self.limits.started.store(started, Ordering::Relaxed);
        self.last_used.store(used, Ordering::Release);
        self.set_idle_timeout(idle_timeout);
        self.limits.deadline.store(deadline.unwrap_or(NEVER), Ordering::Relaxed);
    }

    pub(crate) fn age(self, now: u64) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.started()))
    }

    pub(crate) fn idle_for(self, now: u64) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.last_used.load(Ordering::Relaxed)))
    }
}
