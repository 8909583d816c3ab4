//! The two clocks of a session: since it was last used, and since it was started.
//!
//! # Invariants
//! 1. An expired session stays expired. [`Life::judge`] marks it, and from then on [`Life::touch`] fails; so a touch
//!    that succeeded is never followed by an idle expiry that didn't know of it. (Beside a message, whose
//!    [`Life::used`] is no exchange, it may be set back to when that message read the clock.)
//! 2. `judge` is for the holder of the run right. So a session that is handling a message doesn't expire by idling.
//! 3. A clock that goes backwards expires nothing early: differences saturate at zero.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{clock::nanos, process::Expiry};

/// No time limit.
const NEVER: u64 = u64::MAX;
/// In `last_used`: judged expired.
const EXPIRED: u64 = u64::MAX;

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

    /// Whether the session has expired at `now`, for good if so. Only for the holder of the run right.
    #[inline]
    pub(crate) fn judge(self, now: u64) -> Option<Expiry> {
        if self.past_deadline(now) {
            self.last_used.store(EXPIRED, Ordering::Release);
            return Some(Expiry::Absolute);
        }
        let idle = self.limits.idle.load(Ordering::Relaxed);
        let mut used = self.last_used.load(Ordering::Acquire);
        loop {
            if used == EXPIRED {
                return Some(Expiry::Idle);
            }
            if idle == NEVER || now.saturating_sub(used) < idle {
                return None;
            }
            match self
                .last_used
                .compare_exchange(used, EXPIRED, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(Expiry::Idle),
                Err(touched) => used = touched,
            }
        }
    }

    /// Notes a use. Only for the holder of the run right, after [`judge`](Self::judge).
    #[inline]
    pub(crate) fn used(self, now: u64) {
        if self.last_used.load(Ordering::Relaxed) < now {
            self.last_used.store(now, Ordering::Relaxed);
        }
    }

    /// Notes a use from outside; false if the session has expired. `in_use`: as [`is_expired`](Self::is_expired).
    pub(crate) fn touch(self, now: u64, in_use: bool) -> bool {
        self.last_used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used != EXPIRED && !self.expired_at(now, used, in_use)).then(|| used.max(now))
            })
            .is_ok()
    }

    /// A look without consequences. While a session is `in_use`, by a message that was in time, only its deadline counts.
    #[inline]
    pub(crate) fn is_expired(self, now: u64, in_use: bool) -> bool {
        let used = self.last_used.load(Ordering::Acquire);
        used == EXPIRED || self.expired_at(now, used, in_use)
    }

    #[inline]
    fn expired_at(self, now: u64, used: u64, in_use: bool) -> bool {
        let idle = self.limits.idle.load(Ordering::Relaxed);
        self.past_deadline(now) || (!in_use && idle != NEVER && now.saturating_sub(used) >= idle)
    }

    #[inline]
    pub(crate) fn past_deadline(self, now: u64) -> bool {
        self.limits.deadline.load(Ordering::Relaxed) <= now
    }

    /// When it would expire if nobody used it any more. `u64::MAX`: never.
    pub(crate) fn expires_at(self) -> u64 {
        let used = self.last_used.load(Ordering::Acquire);
        if used == EXPIRED {
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

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Option<Duration> = Some(Duration::from_nanos(100));

    #[test]
    fn use_defers_idle_expiry_and_not_the_deadline() {
        let (used, limits) = Life::begin(0, IDLE, Some(Duration::from_nanos(150)));
        let life = Life::of(&used, &limits);
        assert_eq!(life.judge(99), None);
        life.used(99);
        assert_eq!(life.judge(149), None);
        assert_eq!(life.judge(150), Some(Expiry::Absolute));
    }

    #[test]
    fn expired_once_is_expired_for_good() {
        let (used, limits) = Life::begin(0, IDLE, None);
        let life = Life::of(&used, &limits);
        assert!(life.touch(99, false));
        assert_eq!(life.judge(199), Some(Expiry::Idle));
        assert!(!life.touch(100, false), "also when the clock goes back");
        assert_eq!(life.judge(100), Some(Expiry::Idle));
    }

    #[test]
    fn a_clock_that_goes_backwards_expires_nothing() {
        let (used, limits) = Life::begin(1_000, IDLE, None);
        let life = Life::of(&used, &limits);
        assert_eq!(life.judge(5), None);
        life.used(5);
        assert_eq!(life.judge(1_099), None, "the later use still counts");
    }

    #[test]
    fn limits_can_be_lifted_and_set_for_one_session() {
        let (used, limits) = Life::begin(0, IDLE, None);
        let life = Life::of(&used, &limits);
        life.set_idle_timeout(None);
        assert_eq!(life.judge(u64::MAX - 1), None);
        life.set_max_lifetime(Some(Duration::from_nanos(7)));
        assert_eq!(life.expires_at(), 7);
    }
}
