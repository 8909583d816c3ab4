//! [`Slot`]: the latest value, from one sender to one receiver.
//!
//! # Invariants
//! 1. At most one value waits: a newer one takes its place, so a receiver that never reads costs one value.
//! 2. The last value is received before the end is.
//! 3. No user code runs under the lock: values are moved in and out, and dropped outside. (It sees the waker of the
//!    receiver.)
//!
//! tokio's `watch` has no poll function and lets its receivers clone the value under its lock.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::{Poll, Waker},
};

use parking_lot::Mutex;

/// Why a [`Subscription`](super::Subscription) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionEnd {
    /// The session's process ended.
    SessionEnded,
    /// Its selector panicked, or the `Clone` or `PartialEq` of what it selects.
    SelectorPanicked,
}

pub(super) struct Slot<T> {
    inner: Mutex<Inner<T>>,
    abandoned: AtomicBool,
}

struct Inner<T> {
    value: Option<T>,
    waker: Option<Waker>,
    end: Option<SubscriptionEnd>,
}

impl<T> Slot<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            inner: Mutex::new(Inner {
                value: Some(value),
                waker: None,
                end: None,
            }),
            abandoned: AtomicBool::new(false),
        }
    }

    pub(super) fn put(&self, value: T) {
        let (old, waker) = {
            let mut inner = self.inner.lock();
            (inner.value.replace(value), inner.waker.take())
        };
        drop(old);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The first reason stays.
    pub(super) fn end(&self, why: SubscriptionEnd) {
        let waker = {
            let mut inner = self.inner.lock();
            inner.end.get_or_insert(why);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, waker: &Waker) -> Poll<Option<T>> {
        let old = {
            let mut inner = self.inner.lock();
            if let Some(value) = inner.value.take() {
                return Poll::Ready(Some(value));
            }
            if inner.end.is_some() {
                return Poll::Ready(None);
            }
            match &inner.waker {
                Some(known) if known.will_wake(waker) => None,
                _ => inner.waker.replace(waker.clone()),
            }
        };
        drop(old);
        Poll::Pending
    }

    pub(super) fn ended(&self) -> Option<SubscriptionEnd> {
        self.inner.lock().end
    }

    /// The receiver is gone.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        let waiting = self.inner.lock().value.take();
        drop(waiting);
    }

    #[inline]
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}
