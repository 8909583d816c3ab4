//! [`MemoryStore`]: records that live as long as the program.
//!
//! # Invariants
//! 1. One lock serialises all changes; a batch is applied under it without a gap. No user code runs under it.
//! 2. Versions come from one counter for the whole store, so none repeats under a key.
//! 3. Every record is in each index that it belongs to, exactly once, and nothing else is: an owner without sessions
//!    takes up nothing.

mod apply;
mod channel;
mod locks;
mod table;

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::RecvError};

use self::{channel::MemoryChannel, table::Table};
use super::{
    BoxFuture, Change, Changes, Channel, LockKey, Notice, Outcome, Owner, Record, Removed, SessionKey, SessionStore,
    StoreError, Touch,
};
#[cfg(any(test, feature = "testing"))]
use crate::ManualClock;
use crate::{Timestamp, clock::Monotonic};

/// Notices that a slow subscriber may be behind before it is told [`Notice::Lagged`]. A notice is 80 bytes; reading
/// everything again costs more than keeping as many.
const BACKLOG: usize = 4096;

/// Keeps records in memory: for tests, for development, and for sessions that need not survive a restart.
///
/// Durable means here: until the store is dropped. Its clock is the system's calendar time when it was made, going on
/// from there by the monotonic clock: an administrator who sets the clock neither ends sessions nor prolongs them.
///
/// There is no limit on its size but the limits a user and the lifetimes of the records; whoever uses it calls
/// [`delete_expired`](SessionStore::delete_expired) now and then.
///
/// ```
/// use session_process::{
///     SessionId,
///     store::{Change, Create, Expect, MemoryStore, Op, SessionKey, SessionStore},
/// };
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let key = SessionKey::of(&SessionId::generate());
///
/// let create = Change { key, expect: Expect::default(), op: Op::Create(Box::new(Create::default())) };
/// let outcomes = store.commit(vec![create.clone(), create]).await?;
/// assert!(outcomes[0].is_ok());
/// assert!(outcomes[1].is_err(), "it exists");
///
/// assert!(store.load(&[key]).await?[0].is_some());
/// # Ok(()) }
/// ```
pub struct MemoryStore {
    clock: StoreClock,
    table: Mutex<Table>,
    notices: broadcast::Sender<Notice>,
    freed: broadcast::Sender<LockKey>,
    channel: Arc<MemoryChannel>,
}

#[derive(Debug)]
enum StoreClock {
    System {
        begun: Timestamp,
        since: Monotonic,
    },
    #[cfg(any(test, feature = "testing"))]
    Manual(ManualClock),
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::on(StoreClock::System {
            begun: Timestamp::system(),
            since: Monotonic::start(),
        })
    }

    /// An empty store on a clock that a test drives. With the feature `testing`.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_clock(clock: ManualClock) -> Self {
        Self::on(StoreClock::Manual(clock))
    }

    fn on(clock: StoreClock) -> Self {
        Self {
            clock,
            table: Mutex::default(),
            notices: broadcast::channel(BACKLOG).0,
            freed: broadcast::channel(BACKLOG).0,
            channel: Arc::new(MemoryChannel::new()),
        }
    }

    /// How many records it holds, those among them whose time is over and that were not removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tell(&self, notices: Vec<Notice>) {
        if self.notices.receiver_count() > 0 {
            for notice in notices {
                // An error: the last receiver went away just now.
                let _ = self.notices.send(notice);
            }
        }
    }
}

impl SessionStore for MemoryStore {
    fn now(&self) -> Timestamp {
        match &self.clock {
            StoreClock::System { begun, since } => {
                begun.saturating_add(std::time::Duration::from_nanos(since.elapsed()))
            }
            #[cfg(any(test, feature = "testing"))]
            StoreClock::Manual(clock) => clock.timestamp(),
        }
    }

    fn load<'a>(&'a self, keys: &'a [SessionKey]) -> BoxFuture<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move {
            let found: Vec<_> = {
                let table = self.table.lock();
                let now = self.now();
                keys.iter().map(|key| table.live(key, now).cloned()).collect()
            };
            // The copies are made after the lock.
            Ok(found.into_iter().map(|record| record.as_deref().cloned()).collect())
        })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(async move {
            let mut notices = Vec::new();
            let outcomes = {
                let mut table = self.table.lock();
                let now = self.now();
                changes
                    .into_iter()
                    .map(|change| apply::apply(&mut table, change, now, &mut notices))
                    .collect()
            };
            self.tell(notices);
            Ok(outcomes)
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut table = self.table.lock();
            let now = self.now();
            for Touch { key, accessed_at } in touches {
                if table
                    .live(&key, now)
                    .is_some_and(|record| record.accessed_at < accessed_at)
                {
                    table.edit(&key, |record| record.accessed_at = accessed_at);
                }
            }
            Ok(())
        })
    }

    fn delete_expired(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Removed>, StoreError>> {
        Box::pin(async move {
            let mut removed = Vec::new();
            {
                let mut table = self.table.lock();
                let now = self.now();
                while removed.len() < limit
                    && let Some(record) = table.take_expired(now)
                {
                    removed.push(table::removed(&record));
                }
            }
            self.tell(removed.iter().map(table::notice_of).collect());
            Ok(removed)
        })
    }

    fn list<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let found = {
                let table = self.table.lock();
                table.list(owner, after, limit, self.now())
            };
            Ok(found
                .into_iter()
                .map(|record| {
                    let mut record = (*record).clone();
                    record.snapshot = None;
                    record
                })
                .collect())
        })
    }

    fn locate<'a>(
        &'a self,
        first_keys: &'a [SessionKey],
    ) -> BoxFuture<'a, Result<Vec<Option<SessionKey>>, StoreError>> {
        Box::pin(async move {
            let table = self.table.lock();
            let now = self.now();
            Ok(first_keys.iter().map(|first| table.locate(*first, now)).collect())
        })
    }

    fn changes(&self) -> Box<dyn Changes> {
        Box::new(Subscription(self.notices.subscribe()))
    }

    fn channel(&self) -> Option<Arc<dyn Channel>> {
        Some(Arc::clone(&self.channel) as Arc<dyn Channel>)
    }
}

struct Subscription(broadcast::Receiver<Notice>);

impl Changes for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Notice>> {
        Box::pin(async move {
            match self.0.recv().await {
                Ok(notice) => Some(notice),
                Err(RecvError::Lagged(_)) => Some(Notice::Lagged),
                Err(RecvError::Closed) => None,
            }
        })
    }
}

/// How many there are; what they hold is their users' affair.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("records", &self.len())
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
