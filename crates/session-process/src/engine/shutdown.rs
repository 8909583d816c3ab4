//! Shutting an engine down: nothing new, everything that was accepted handled, every hook run, within a deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    Engine,
    guard::drop_quietly,
    session::{AnySession, Leftover},
    sweep,
};
use crate::{EndReason, PublicHandle, clock::nanos};

/// Sessions that are ended in one go, before others get the thread: some 200 microseconds. Giving it up costs 10 to 20
/// of them, as another thread takes the task over.
const SLICE: usize = 512;

/// Sessions whose memory is given back in one go: as long.
const FREED: usize = 2_048;

/// From this many sessions on, several tasks end them: some milliseconds of work.
const MANY: usize = 8_192;

/// How many tasks at the most. Others have a claim to the threads of the runtime too.
const MOST_AT_IT: usize = 4;

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
    pub(crate) async fn shutdown(self: &Arc<Self>, deadline: Duration) -> ShutdownReport {
        let deadline = self.now().saturating_add(nanos(deadline));
        self.shut_down_by.store(deadline, Ordering::Release);
        self.closing.store(true, Ordering::Release);
        let before = self.registry.len();
        self.end_all(EndReason::Shutdown, Leftover::Handle).await;

        let in_time = self.clock.before(deadline, self.empty()).await.is_some();
        let mut cut = Vec::new();
        if !in_time {
            self.kill_all(&mut cut);
            // Of the real clock: a manual one may stand still. Made in the engine's runtime: the caller's may have no
            // timers.
            let grace = {
                let _in = self.runtime.enter();
                tokio::time::timeout(ABORT_GRACE, self.empty())
            };
            let _ = grace.await;
        }
        if let Some(near) = &self.near {
            sweep::clear_up(near, 0..near.places()).await;
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

    /// Cuts off every session.
    fn kill_all(&self, cut: &mut Vec<PublicHandle>) {
        let pass = self.registry.pass();
        let mut kill = |sessions: Vec<Arc<dyn AnySession>>| {
            for session in sessions {
                let handle = session.id().public_handle();
                if session.kill(EndReason::Shutdown) {
                    cut.push(handle);
                }
            }
        };
        for shard in 0..self.registry.shards() {
            kill(self.registry.collect(shard));
        }
        kill(pass.moved());
    }

    /// Asks every session to end, and doesn't wait for it. Returns how many were asked.
    ///
    /// # Cancel safety
    /// Those that were asked end.
    pub(crate) async fn end_all(self: &Arc<Self>, reason: EndReason, leftover: Leftover) -> usize {
        let round = Arc::new(Round {
            reason,
            leftover,
            next: AtomicUsize::new(0),
            freeing: AtomicBool::new(false),
        });
        let pass = self.registry.pass();
        let mut helpers = JoinSet::new();
        if self.registry.len() >= MANY {
            for _ in 1..self.runtime.metrics().num_workers().min(MOST_AT_IT) {
                let (engine, round) = (Arc::clone(self), Arc::clone(&round));
                helpers.spawn_on(async move { engine.end_shards(&round).await }, &self.runtime);
            }
        }
        let (mut asked, mut over) = self.end_shards(&round).await;
        while let Some(helper) = helpers.join_next().await {
            // It fails only with the runtime, which takes the sessions along.
            let Ok((by_helper, left)) = helper else { continue };
            asked += by_helper;
            over.extend(left);
        }
        asked += pass.moved().iter().filter(|session| round.ask(session)).count();
        round.give_back(&mut over).await;
        asked
    }

    /// Shard by shard, with whoever else is at it. Returns how many were asked, and those of them that are still to be let
    /// go of.
    async fn end_shards(&self, round: &Round) -> (usize, Vec<Arc<dyn AnySession>>) {
        let mut asked = 0usize;
        let mut over = Vec::new();
        while let Some(shard) = round.next_shard(self.registry.shards()) {
            let sessions = self.registry.collect(shard);
            for session in &sessions {
                if !round.ask(session) {
                    continue;
                }
                asked += 1;
                if asked.is_multiple_of(SLICE) {
                    tokio::task::yield_now().await;
                }
            }
            over.extend(sessions);
            round.give_back(&mut over).await;
        }
        (asked, over)
    }
}

/// What those share who end all sessions together.
struct Round {
    reason: EndReason,
    leftover: Leftover,
    next: AtomicUsize,
    /// Somebody gives memory back.
    freeing: AtomicBool,
}

impl Round {
    fn next_shard(&self, shards: usize) -> Option<usize> {
        let shard = self.next.fetch_add(1, Ordering::Relaxed);
        (shard < shards).then_some(shard)
    }

    /// Asks a session to end. False: it does already.
    fn ask(&self, session: &Arc<dyn AnySession>) -> bool {
        let asks = !session.is_closed();
        if asks {
            Arc::clone(session).end(self.reason, self.leftover);
        }
        asks
    }

    /// Lets go of sessions that were asked to end, unless another does so now: then they wait for the next time.
    ///
    /// The memory of sessions that one thread started lies in one arena of malloc (glibc's). Threads that free there at
    /// the same time wait for each other in the kernel, session by session: two were no quicker than one.
    async fn give_back(&self, over: &mut Vec<Arc<dyn AnySession>>) {
        while !over.is_empty() && !self.freeing.swap(true, Ordering::Acquire) {
            for session in over.drain(over.len().saturating_sub(FREED)..) {
                // What belongs to the user is gone by now, except where a handler was cut off.
                let _ = drop_quietly(session);
            }
            self.freeing.store(false, Ordering::Release);
            if !over.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
}
