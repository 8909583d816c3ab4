//! [`Contender`]: what each side must be able to do, so that one row can measure them all.

use std::{future::Future, time::Instant};

/// A system of sessions: one process for each id, holding a sum.
///
/// Rows are generic over it, so a hot loop pays for no dynamic call. Clones share the same sessions.
pub trait Contender: Clone + Send + Sync + 'static {
    /// The name in the table.
    const NAME: &'static str;

    /// An id, ready for use: whatever can be checked or parsed beforehand has been, outside the timed regions.
    type Id: Clone + Send + Sync + 'static;

    /// Makes the id from its text of 32 characters.
    fn id(text: String) -> Self::Id;

    /// An empty system. Called inside the runtime.
    fn new() -> impl Future<Output = Self> + Send;

    /// Starts the session `id` with a sum of zero.
    fn start(&self, id: &Self::Id) -> impl Future<Output = ()> + Send;

    /// Waits until `count` sessions in all have run their own start and would now only handle messages.
    ///
    /// Where [`start`](Self::start) returns only then, there is nothing to wait for.
    fn usable(&self, count: usize) -> impl Future<Output = ()> + Send;

    /// Looks the session up, adds `n` to its sum and returns the sum.
    fn call(&self, id: &Self::Id, n: u64) -> impl Future<Output = u64> + Send;

    /// Looks the session up and adds `n` to its sum, without a reply. No message may be lost; waiting for room in a
    /// queue is allowed.
    fn cast(&self, id: &Self::Id, n: u64) -> impl Future<Output = ()> + Send;

    /// Whether the session `id` is there.
    fn is_started(&self, id: &Self::Id) -> bool;

    /// How many sessions are there.
    fn len(&self) -> usize;

    /// Whether no session is there.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stops every session and returns when all have ended, their state is dropped and the registry is empty.
    fn stop_all(&self) -> impl Future<Output = ()> + Send;

    /// Starts the sessions `ids` so that all of them expire at the instant `at`, without anyone touching them.
    ///
    /// `None`: this side has no expiry, and the row of it is left out. `Some(())` once all are started; `at` must
    /// still be ahead then.
    fn start_expiring(&self, ids: &[Self::Id], at: Instant) -> impl Future<Output = Option<()>> + Send {
        let _ = (ids, at);
        async { None }
    }
}
