use std::sync::Arc;

use tokio::sync::Semaphore;

/// A point that the code under test stops at until the test lets it go on.
///
/// The code calls [`pass`](Self::pass); the test waits with [`reached`](Self::reached) until it stands there, and lets
/// it through with [`open`](Self::open).
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    arrived: Semaphore,
    opened: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            arrived: Semaphore::new(0),
            opened: Semaphore::new(0),
        }))
    }

    /// For the code under test: says that it is here, and waits to be let through.
    pub async fn pass(&self) {
        self.0.arrived.add_permits(1);
        self.0.opened.acquire().await.expect("never closed").forget();
    }

    /// Waits until somebody stands at the gate whom nobody has noticed yet.
    pub async fn reached(&self) {
        self.0.arrived.acquire().await.expect("never closed").forget();
    }

    /// Lets one through, now or later.
    pub fn open(&self) {
        self.0.opened.add_permits(1);
    }

    /// Lets everybody through from now on.
    pub fn open_for_all(&self) {
        self.0.opened.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}
