//! Shutting an engine down: nothing new, everything that was accepted handled, every hook run, within a deadline.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Engine, session::Leftover};
use crate::{EndReason, PublicHandle, clock::nanos};

/// Sessions that are ended in one go, before others get the thread: some 200 microseconds. Giving it up costs 10 to 20
/// of them, as another thread takes the task over.
const SLICE: usize = 512;

/// After the deadline: how long tasks that were aborted may take to be gone. They are dropped as soon as their thread
/// comes to them, so only a handler that blocks its thread is still there then.
const ABORT_GRACE: Duration = Duration::from_millis(500);

/// What a shutdown did.
#[derive(Debug, Clone)]
#[must_use]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Sessions that ended in order: their mailboxes were worked off and their terminate hooks have run.
    pub ended: usize,
    /// Sessions that were cut off at the deadline, in a handler or in their terminate hook.
    pub cut: Vec<PublicHandle>,
}

impl Engine {
    pub(crate) async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let deadline = self.now().saturating_add(nanos(deadline));
        self.closing.store(true, Ordering::Release);
        let before = self.registry.len();
        // Again until a pass finds nobody: a session whose id is rotated meanwhile moves to another shard.
        while self.end_all(EndReason::Shutdown, Leftover::Handle).await > 0 {}

        let in_time = self.clock.before(deadline, self.empty()).await.is_some();
        let mut cut = Vec::new();
        if !in_time {
            for shard in 0..self.registry.shards() {
                for session in self.registry.collect(shard) {
                    cut.push(session.id().public_handle());
                    session.kill(EndReason::Shutdown);
                }
            }
            // Of the real clock: a manual one may stand still.
            let _ = tokio::time::timeout(ABORT_GRACE, self.empty()).await;
        }
        ShutdownReport {
            ended: before.saturating_sub(cut.len()),
            cut,
        }
    }

    async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.registry.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Asks every session to end, and doesn't wait for it. Returns how many were asked.
    pub(crate) async fn end_all(&self, reason: EndReason, leftover: Leftover) -> usize {
        let mut asked = 0usize;
        for shard in 0..self.registry.shards() {
            for session in self.registry.collect(shard) {
                if session.is_closed() {
                    continue;
                }
                session.end(reason, leftover);
                asked += 1;
                if asked.is_multiple_of(SLICE) {
                    tokio::task::yield_now().await;
                }
            }
        }
        asked
    }
}
