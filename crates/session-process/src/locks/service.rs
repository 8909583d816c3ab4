//! [`Locks`]: what a user calls.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    clock::LeaseClock,
    keeper::{Keeper, Trust},
    lock::Lock,
    turns::{Turn, Turns},
};
use crate::store::{Acquired, Holder, LockName, LockStore, StoreError};

/// The shortest lease. A renewal takes milliseconds, and a pause of the machine some more.
pub(super) const SHORTEST: Duration = Duration::from_millis(100);
/// How long somebody who waits goes without asking, where no release was heard of.
const POLL: Duration = Duration::from_secs(1);
/// Not sooner again than this, where a lease is about to be over.
const PAUSE: Duration = Duration::from_millis(5);

/// Locks that all who use a store share. A clone is the same locks. See [the module](super).
#[derive(Clone)]
pub struct Locks {
    store: Arc<dyn LockStore>,
    turns: Turns,
    clock: LeaseClock,
    lease: Duration,
    runtime: Handle,
}

impl Locks {
    /// Locks in this store, with a lease of 10 seconds: longer than a pause that a node survives, shorter than a user
    /// waits.
    ///
    /// # Panics
    /// Outside a tokio runtime. Locks are kept on the one that this is called in.
    #[must_use]
    pub fn new(store: impl LockStore) -> Self {
        Self::over(Arc::new(store))
    }

    /// Locks in this store, which others use as well.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn over(store: Arc<dyn LockStore>) -> Self {
        let runtime = Handle::current();
        Self {
            store,
            turns: Turns::default(),
            clock: LeaseClock::system(runtime.clone()),
            lease: Duration::from_secs(10),
            runtime,
        }
    }

    /// With another lease, for locks that are taken from now on: how long a lock stays taken when its holder dies. At
    /// least 100 ms.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(SHORTEST);
        self
    }

    /// On a clock that a test drives. The store has its own. With the feature `testing`.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_clock(mut self, clock: crate::ManualClock) -> Self {
        self.clock = LeaseClock::Manual(crate::clock::Clock::Manual(clock));
        self
    }

    /// The lock, if it is free.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't say.
    ///
    /// # Cancel safety
    /// A lock that was got and that nobody waits for any more is given up.
    pub async fn try_lock(&self, name: impl Into<LockName>) -> Result<Option<Lock>, StoreError> {
        self.within(name.into(), Patience::None).await
    }

    /// The lock, as soon as it is free.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't say: at once, not when it is back.
    ///
    /// # Cancel safety
    /// As [`try_lock`](Self::try_lock); the place among those who wait is lost.
    pub async fn lock(&self, name: impl Into<LockName>) -> Result<Lock, StoreError> {
        let lock = self.within(name.into(), Patience::Forever).await?;
        lock.ok_or_else(gone)
    }

    /// The lock, if it is free within this time.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't say.
    ///
    /// # Cancel safety
    /// As [`lock`](Self::lock).
    pub async fn lock_within(&self, name: impl Into<LockName>, patience: Duration) -> Result<Option<Lock>, StoreError> {
        self.within(name.into(), Patience::Until(self.clock.after(patience)))
            .await
    }

    async fn within(&self, name: LockName, patience: Patience) -> Result<Option<Lock>, StoreError> {
        let holder = Holder::random()?;
        let (reply, answer) = oneshot::channel();
        let wait = Wait {
            locks: self.clone(),
            name,
            holder,
            patience,
        };
        // In a task of its own: what the store gives must have somebody who keeps it or gives it back.
        self.runtime.spawn(wait.run(reply));
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    fn keep(&self, name: &LockName, holder: Holder, token: crate::store::Token, asked_at: u64, turn: Turn) -> Lock {
        let trust = Arc::new(Trust::new());
        trust.renewed(asked_at, self.lease);
        let (commands, asked) = mpsc::unbounded_channel();
        let keeper = Keeper {
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            key: name.key(),
            holder,
            lease: self.lease,
            trust: Arc::clone(&trust),
            commands: asked,
            _turn: turn,
        };
        self.runtime.spawn(keeper.run(asked_at));
        Lock {
            key: name.key(),
            token,
            trust,
            clock: self.clock.clone(),
            commands,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Patience {
    None,
    Until(u64),
    Forever,
}

type Reply = oneshot::Sender<Result<Option<Lock>, StoreError>>;

/// Somebody who wants a lock.
struct Wait {
    locks: Locks,
    name: LockName,
    holder: Holder,
    patience: Patience,
}

impl Wait {
    async fn run(self, mut reply: Reply) {
        let Some(turn) = self.turn(&mut reply).await else {
            let _ = reply.send(Ok(None));
            return;
        };
        match self.ask(&mut reply, turn).await {
            // A lock that nobody waits for any more is dropped, and given up by that.
            Ok(lock) => drop(reply.send(Ok(lock))),
            Err(error) => {
                let _ = reply.send(Err(error));
                // It may be ours, and nobody would know.
                let _ = self.locks.store.release(self.name.key(), self.holder).await;
            }
        }
    }

    /// Our turn among the callers of this node.
    async fn turn(&self, reply: &mut Reply) -> Option<Turn> {
        let key = self.name.key();
        if let Patience::None = self.patience {
            return self.locks.turns.try_now(key);
        }
        tokio::select! {
            biased;
            () = reply.closed() => None,
            turn = self.locks.turns.wait(key) => Some(turn),
            () = self.too_late() => None,
        }
    }

    /// Asks the store until it has the lock or time is up.
    async fn ask(&self, reply: &mut Reply, turn: Turn) -> Result<Option<Lock>, StoreError> {
        let Locks {
            store, clock, lease, ..
        } = &self.locks;
        loop {
            // Before the store is asked: it may be given up in between.
            let freed = store.freed(self.name.key());
            let asked_at = clock.now();
            let remaining = match store.acquire(&self.name, self.holder, *lease).await? {
                Acquired::Held(token) => {
                    return Ok(Some(self.locks.keep(&self.name, self.holder, token, asked_at, turn)));
                }
                Acquired::Busy { remaining } => remaining,
            };
            if let Patience::None = self.patience {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = reply.closed() => return Ok(None),
                () = self.too_late() => return Ok(None),
                () = freed => {}
                () = clock.sleep_until(clock.after(remaining.clamp(PAUSE, POLL))) => {}
            }
        }
    }

    async fn too_late(&self) {
        match self.patience {
            Patience::Until(instant) => self.locks.clock.sleep_until(instant).await,
            Patience::None | Patience::Forever => std::future::pending().await,
        }
    }
}

/// The runtime that locks are kept on is gone.
fn gone() -> StoreError {
    StoreError::Unavailable {
        context: "lock",
        source: None,
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
