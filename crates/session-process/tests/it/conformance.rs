//! The memory store does what every store must.

use std::{sync::Arc, time::Duration};

use session_process::{
    ManualClock,
    store::{LockStore, MemoryStore, SessionStore},
};
use testkit::{conformance::StoreUnderTest, locks::LocksUnderTest};

struct Memory {
    store: Arc<MemoryStore>,
    clock: ManualClock,
}

impl StoreUnderTest for Memory {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store) as _
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl LocksUnderTest for Memory {
    fn locks(&self) -> Arc<dyn LockStore> {
        Arc::clone(&self.store) as _
    }
}

async fn fresh() -> Memory {
    let clock = ManualClock::new();
    // Well after the epoch: the suite also looks back.
    clock.advance(Duration::from_secs(365 * 24 * 3600));
    Memory {
        store: Arc::new(MemoryStore::with_clock(clock.clone())),
        clock,
    }
}

testkit::store_conformance!(super::fresh);
testkit::lock_conformance!(super::fresh);
