//! Locks in memory.

use std::{collections::HashMap, time::Duration};

use tokio::sync::broadcast::error::RecvError;

use super::{
    super::{Acquired, BoxFuture, Fence, Holder, LockKey, LockName, LockStore, StoreError, Token},
    MemoryStore,
};
use crate::Timestamp;

/// Who holds what. A lock stays here when it is free: its last token is what a late change is measured by.
#[derive(Default)]
pub(super) struct Held {
    locks: HashMap<LockKey, Lease>,
    last_token: u64,
}

struct Lease {
    holder: Holder,
    token: Token,
    ends_at: Timestamp,
}

impl Held {
    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn acquire(&mut self, key: LockKey, holder: Holder, now: Timestamp, lease: Duration) -> Acquired {
        let ends_at = now.saturating_add(lease);
        if let Some(held) = self.locks.get_mut(&key).filter(|held| held.ends_at > now) {
            if held.holder != holder {
                let remaining = held.ends_at.saturating_since(now);
                return Acquired::Busy { remaining };
            }
            held.ends_at = ends_at;
            return Acquired::Held(held.token);
        }
        let token = self.next_token();
        let lease = Lease { holder, token, ends_at };
        self.locks.insert(key, lease);
        Acquired::Held(token)
    }

    fn own(&mut self, key: &LockKey, holder: Holder, now: Timestamp) -> Option<&mut Lease> {
        let held = self.locks.get_mut(key);
        held.filter(|held| held.holder == holder && held.ends_at > now)
    }

    pub(super) fn is_newest(&self, fence: Fence) -> bool {
        self.locks
            .get(&fence.lock)
            .is_some_and(|held| held.token == fence.token)
    }
}

impl LockStore for MemoryStore {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        holder: Holder,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Acquired, StoreError>> {
        Box::pin(async move {
            let mut table = self.table.lock();
            let now = super::SessionStore::now(self);
            Ok(table.held.acquire(name.key(), holder, now, lease))
        })
    }

    fn renew(&self, key: LockKey, holder: Holder, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut table = self.table.lock();
            let now = super::SessionStore::now(self);
            let own = table.held.own(&key, holder, now);
            Ok(own.map(|held| held.ends_at = now.saturating_add(lease)).is_some())
        })
    }

    fn release(&self, key: LockKey, holder: Holder) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            {
                let mut table = self.table.lock();
                let now = super::SessionStore::now(self);
                let token = table.held.next_token();
                let Some(held) = table.held.own(&key, holder, now) else {
                    return Ok(false);
                };
                held.ends_at = now;
                held.token = token;
            }
            // An error: nobody waits for anything.
            let _ = self.freed.send(key);
            Ok(true)
        })
    }

    fn freed(&self, key: LockKey) -> BoxFuture<'_, ()> {
        let mut freed = self.freed.subscribe();
        Box::pin(async move {
            loop {
                match freed.recv().await {
                    Ok(other) if other != key => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        })
    }
}
