//! [`Population`]: how many of a peer's sessions are alive, and when that number is reached.
//!
//! The peers' own ways to wait for a start or an end cost an await for each session; a count is cheaper, so it is
//! what they get. It costs a session 8 bytes.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

/// Counts the sessions of one system.
#[derive(Debug)]
pub struct Population {
    alive: AtomicUsize,
    awaited: AtomicUsize,
    reached: Notify,
}

impl Population {
    /// A count that is never freed (a system is made once a round): a session then keeps a plain reference.
    #[must_use]
    pub fn leak() -> &'static Self {
        Box::leak(Box::new(Self {
            alive: AtomicUsize::new(0),
            awaited: AtomicUsize::new(0),
            reached: Notify::new(),
        }))
    }

    /// Counts one more, until the member is dropped.
    #[must_use]
    pub fn join(&'static self) -> Member {
        self.counted(self.alive.fetch_add(1, SeqCst) + 1);
        Member(self)
    }

    /// Waits until `count` are alive. One waiter at a time.
    pub async fn reaches(&self, count: usize) {
        // Sequentially consistent on both sides: either the member that makes up the count sees what is awaited, or
        // the waiter sees the count.
        self.awaited.store(count, SeqCst);
        while self.alive.load(SeqCst) != count {
            self.reached.notified().await;
        }
    }

    fn counted(&self, alive: usize) {
        if alive == self.awaited.load(SeqCst) {
            self.reached.notify_one();
        }
    }
}

/// A session that is alive, counted in its [`Population`].
#[derive(Debug)]
pub struct Member(&'static Population);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.counted(self.0.alive.fetch_sub(1, SeqCst) - 1);
    }
}
