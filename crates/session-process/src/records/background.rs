//! What goes on without being asked for: accesses go out, expired sessions are removed, changes are heard of.
//!
//! # Invariants
//! 1. No error of the store ends a task: it waits a little, longer each time and by chance, and goes on.
//! 2. When the changes can't be heard of any more, for whatever reason, nothing is served from the cache.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::sync::watch;

use super::{
    core::Core,
    endings::{Because, Ending},
};
use crate::{
    back_off::BackOff,
    clock::nanos,
    events::Event,
    store::{Changes, Notice, StoreError},
};

/// After a failure of the store.
const RETRY: BackOff = BackOff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
};

/// Starts the tasks. They end when `closing` says so or its sender is gone.
pub(super) fn start(core: &Arc<Core>, closing: &watch::Receiver<bool>) {
    let changes = core.backend.store.changes();
    let listener = Listener {
        core: Arc::clone(core),
        closing: closing.clone(),
    };
    core.runtime.spawn(until(closing.clone(), listener.listen(changes)));
    core.runtime.spawn(until(closing.clone(), flush(Arc::clone(core))));
    if let Some(interval) = core.config.cleanup_interval {
        core.runtime
            .spawn(until(closing.clone(), clean(Arc::clone(core), interval)));
    }
}

async fn until(mut closing: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    let mut closed = pin!(async move {
        let _ = closing.wait_for(|closing| *closing).await;
    });
    let mut task = pin!(task);
    poll_fn(|cx| match closed.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => task.as_mut().poll(cx),
    })
    .await;
}

struct Listener {
    core: Arc<Core>,
    closing: watch::Receiver<bool>,
}

impl Listener {
    async fn listen(self, mut changes: Box<dyn Changes>) {
        while let Some(notice) = changes.next().await {
            self.hear(&notice);
        }
    }

    fn hear(&self, notice: &Notice) {
        let core = &self.core;
        match *notice {
            Notice::Changed { key, version } => {
                core.endings.disclaim(&key);
                core.cache.learn(&key, version, false);
                core.endings.tell_changed(&key, version);
            }
            Notice::Removed { key, version } => {
                core.cache.learn(&key, version, true);
                // A late notice of a session whose id lives again is no news of that one.
                if !core.cache.has_newer(&key, version) && core.endings.claim(key) {
                    core.tell_removed(key, version, None, Because::Elsewhere);
                }
            }
            Notice::Moved { key, version, to } => {
                core.cache.learn(&key, version, true);
                if !core.cache.has_newer(&key, version) && core.endings.claim(key) {
                    core.endings.tell(&Ending::Rotated { from: key, to });
                }
            }
            Notice::Deaf => {
                core.cache.deafen(core.now());
                core.events.emit(|| Event::RecordCacheCleared { reason: "deaf" });
            }
            Notice::Hearing => {
                core.cache.trust();
                core.events.emit(|| Event::RecordCacheCleared { reason: "hearing" });
                core.endings.tell(&Ending::Unknown { key: None });
            }
            Notice::Lagged => {
                core.cache.clear();
                core.events.emit(|| Event::RecordCacheCleared { reason: "lagged" });
                core.endings.tell(&Ending::Unknown { key: None });
            }
        }
    }
}

/// The stream ended, the store panicked, or the records are closing.
impl Drop for Listener {
    fn drop(&mut self) {
        self.core.cache.distrust();
        // An error: the records are gone, and nobody reads them. Neither is news to anybody.
        let closing = *self.closing.borrow() || self.closing.has_changed().is_err();
        if !closing {
            self.core.events.emit(|| Event::RecordCacheCleared { reason: "deaf" });
        }
    }
}

async fn flush(core: Arc<Core>) {
    let mut failures = 0;
    loop {
        let nearer = core.accesses.nearer.notified();
        let rest = core.accesses.due().saturating_since(core.now());
        if !rest.is_zero() {
            let due = core.backend.clock.now().saturating_add(nanos(rest));
            core.backend.clock.before(due, nearer).await;
            continue;
        }
        match core.flush_accesses().await {
            Ok(_) => failures = 0,
            Err(_) => {
                core.backend.clock.sleep(RETRY.wait_by_chance(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn clean(core: Arc<Core>, interval: Duration) {
    let mut failures = 0;
    loop {
        core.backend.clock.sleep(interval).await;
        while let Err(error) = core.clean_up().await {
            core.events.emit(|| Event::RecordCleanupFailed { error: error.kind() });
            core.backend.clock.sleep(RETRY.wait_by_chance(failures)).await;
            failures = failures.saturating_add(1);
        }
        failures = 0;
    }
}

impl Core {
    pub(super) async fn flush_accesses(&self) -> Result<usize, StoreError> {
        let flushed = self.accesses.flush(&self.backend, None).await;
        if let Err(error) = &flushed {
            self.events.emit(|| Event::AccessFlushFailed { error: error.kind() });
        }
        flushed
    }

    /// Removes what has expired, in slices. Returns how many sessions it were.
    pub(super) async fn clean_up(&self) -> Result<usize, StoreError> {
        let begun = std::time::Instant::now();
        let slice = self.config.cleanup_slice;
        let mut count = 0;
        loop {
            // What was used here must not be taken for unused.
            self.flush_accesses().await?;
            let removed = self.backend.delete_expired(slice).await?;
            count += removed.len();
            self.gone(&removed, Because::Expired);
            if removed.len() < slice {
                break;
            }
            tokio::task::yield_now().await;
        }
        if count > 0 {
            self.events.emit(|| Event::RecordsCleaned {
                expired: count,
                took: begun.elapsed(),
            });
        }
        Ok(count)
    }
}
