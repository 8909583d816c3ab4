//! The task that keeps a lock: renews its lease, says when it is lost, gives it up.
//!
//! # Invariants
//! 1. A lease is trusted until `asked_at + lease - margin`, never from the answer on: a slow round trip never stretches
//!    it.
//! 2. What is lost stays lost, and is not given up in the store: the holder may be at work until the lease is over.
//! 3. The turn among the callers of this node is held as long as the lock is.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{clock::LeaseClock, turns::Turn};
use crate::{
    clock::nanos,
    store::{BoxFuture, Holder, LockKey, LockStore, StoreError},
};

/// Until when the lock is trusted to be held, on the clock of leases; 0: it is lost.
#[derive(Debug)]
pub(super) struct Trust {
    until: AtomicU64,
    lost: watch::Sender<bool>,
}

impl Trust {
    pub(super) fn new() -> Self {
        Self {
            until: AtomicU64::new(0),
            lost: watch::Sender::new(false),
        }
    }

    pub(super) fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// Tells when it is lost.
    pub(super) fn lost(&self) -> watch::Receiver<bool> {
        self.lost.subscribe()
    }

    /// A tenth of the lease is left out: for clocks that don't run alike, and for whoever is told to stop.
    pub(super) fn renewed(&self, asked_at: u64, lease: Duration) {
        let until = asked_at.saturating_add(nanos(lease - lease / 10));
        self.until.store(until, Ordering::Release);
    }

    fn is_lost(&self) {
        self.until.store(0, Ordering::Release);
        self.lost.send_replace(true);
    }
}

pub(super) type Reply = oneshot::Sender<Result<bool, StoreError>>;

/// What the holder asks of the keeper. When nobody can ask any more, it gives the lock up.
pub(super) enum Command {
    Extend(Duration, Reply),
    Release(Reply),
}

pub(super) struct Keeper {
    pub(super) store: Arc<dyn LockStore>,
    pub(super) clock: LeaseClock,
    pub(super) key: LockKey,
    pub(super) holder: Holder,
    pub(super) lease: Duration,
    pub(super) trust: Arc<Trust>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    /// Held.
    pub(super) _turn: Turn,
}

struct Renewal<'a> {
    asked_at: u64,
    lease: Duration,
    answer: BoxFuture<'a, Result<bool, StoreError>>,
    reply: Option<Reply>,
}

impl Keeper {
    /// Until the lock is given up or lost. `asked_at`: when the store was asked for it.
    pub(super) async fn run(mut self, asked_at: u64) {
        let store = Arc::clone(&self.store);
        let mut due = self.next(asked_at);
        let mut under_way: Option<Renewal<'_>> = None;
        loop {
            let until = self.trust.until();
            let wake_at = if under_way.is_some() { until } else { due.min(until) };
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Extend(lease, reply)) => {
                        under_way = Some(self.renew(&*store, lease, Some(reply)));
                    }
                    Some(Command::Release(reply)) => {
                        // Nobody has it for granted any more, whatever the store says.
                        self.trust.is_lost();
                        drop(under_way);
                        let _ = reply.send(store.release(self.key, self.holder).await);
                        return;
                    }
                    None => {
                        self.trust.is_lost();
                        drop(under_way);
                        // An error: the lease runs out.
                        let _ = store.release(self.key, self.holder).await;
                        return;
                    }
                },
                answer = answered(under_way.as_mut()) => {
                    let Some(Renewal { asked_at, lease, reply, .. }) = under_way.take() else { continue };
                    match &answer {
                        Ok(true) => {
                            self.lease = lease;
                            self.trust.renewed(asked_at, lease);
                            due = self.next(asked_at);
                        }
                        Ok(false) => self.trust.is_lost(),
                        // Until the trust is over.
                        Err(_) => due = self.clock.after(self.lease / 20),
                    }
                    let lost = matches!(answer, Ok(false));
                    if let Some(reply) = reply {
                        let _ = reply.send(answer);
                    }
                    if lost {
                        return;
                    }
                }
                () = self.clock.sleep_until(wake_at) => {
                    if self.clock.now() >= until {
                        return self.trust.is_lost();
                    }
                    under_way = Some(self.renew(&*store, self.lease, None));
                }
            }
        }
    }

    fn renew<'a>(&self, store: &'a dyn LockStore, lease: Duration, reply: Option<Reply>) -> Renewal<'a> {
        Renewal {
            asked_at: self.clock.now(),
            lease,
            answer: store.renew(self.key, self.holder, lease),
            reply,
        }
    }

    /// When to renew what was asked for then.
    fn next(&self, asked_at: u64) -> u64 {
        asked_at.saturating_add(nanos(self.lease / 3))
    }
}

/// A keeper whose runtime goes away leaves nobody in the belief that the lock is held.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.trust.is_lost();
    }
}

async fn answered(renewal: Option<&mut Renewal<'_>>) -> Result<bool, StoreError> {
    match renewal {
        Some(renewal) => renewal.answer.as_mut().await,
        None => pending().await,
    }
}
