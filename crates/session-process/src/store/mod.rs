//! Persistence: [`SessionStore`], and the records it keeps.
//!
//! A store keeps one [`Record`] for each session, under a [`SessionKey`] that is a hash of the session's id. It knows
//! nothing of processes. Everything is batch-first: what many sessions want at a time goes to the store in one piece.
//! (Redux's `Store` is something else: a process that holds state.)

mod change;
mod channel;
mod effect;
mod error;
mod key;
mod lock;
mod memory;
mod record;

use std::{future::Future, pin::Pin, sync::Arc};

pub use self::{
    change::{
        Change, Changed, Conflict, Create, Edit, Expect, Notice, Op, Outcome, OwnerLimit, OwnerLimitPolicy, Removed,
        Touch,
    },
    channel::{Channel, Messages},
    error::StoreError,
    key::SessionKey,
    lock::{Acquired, Fence, Holder, LockKey, LockName, LockStore, Token},
    memory::MemoryStore,
    record::{Attribute, AttributeMap, Epoch, Lifetime, Owner, OwnerText, Record, Snapshot, Version},
};
use crate::Timestamp;

/// A future in a box, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps the records of sessions: in memory, in a file, in a database that many nodes share.
///
/// # What an implementation guarantees
/// 1. **Atomicity.** A [`Change`] takes effect whole or not at all, whatever fails when. The changes of one
///    [`commit`](Self::commit) are independent: each has its own outcome, and one that conflicts doesn't hold up the
///    others. Whether they share a transaction is the store's affair.
/// 2. **Isolation.** Changes to one key are serialised. The expectation of a change is judged against the state that it
///    is applied to, with nothing in between. Two changes of one batch to one key are applied in the order of the batch.
/// 3. **Durability.** An outcome is returned when the change is durable, as far as the store's documentation promises.
///    After an `Err` for the whole batch, it is open which of its changes took effect, each still whole or not at
///    all; the expectation of a repeated change tells.
/// 4. **No resurrection.** An [`Op::Edit`] or a [`Touch`] of a key without a live record does nothing. Only
///    [`Op::Create`] makes a record.
/// 5. **Versions grow.** A record that is created gets a version greater than any that the store ever gave under its
///    key, also after the earlier record was deleted. Every change adds at least one. So an old version never
///    matches a newer record.
/// 6. **Expiry is absence.** A record whose [`Lifetime`] is over by [`now`](Self::now) is not loaded, not listed, not
///    counted and not edited, whether or not it was removed yet. Its key is free for `Create`.
/// 7. **Limits are exact.** The [`OwnerLimit`] of a `Create` holds at every moment, however many create at once and
///    on however many nodes.
/// 8. **Time.** All times are of one clock, [`now`](Self::now): on several nodes that of the shared database, never
///    that of a node.
///
/// The conformance suite in `testkit` checks this for any implementation.
///
/// # Cancel safety
/// A future that is dropped may or may not have taken effect, each change whole or not at all.
pub trait SessionStore: Send + Sync + 'static {
    /// The store's clock. Cheap: an estimate of a database's clock from its last answer will do.
    fn now(&self) -> Timestamp;

    /// The records under these keys, in their order; `None` where there is none or it has expired.
    ///
    /// A failure to read is an error, never `None`.
    fn load<'a>(&'a self, keys: &'a [SessionKey]) -> BoxFuture<'a, Result<Vec<Option<Record>>, StoreError>>;

    /// Applies changes, and says of each, in their order, what became of it.
    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>>;

    /// Moves last accesses forward, never backward. Keys without a live record are passed over. Changes no version.
    fn touch(&self, touches: Vec<Touch>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes up to `limit` records whose lifetime is over, and says which.
    fn delete_expired(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Removed>, StoreError>>;

    /// Live records of an owner, without their snapshots, ordered by key and beginning after `after`; `limit` at the
    /// most.
    fn list<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// Where the live records are now that were created under these keys ([`Record::first_key`]), in their order; `None`
    /// where there is none any more. It tells a session that is over from one that has another id, for those who were
    /// told neither: they lost notices, or poll.
    ///
    /// An error: that is not known. By default it is one, since a store need not remember.
    fn locate<'a>(
        &'a self,
        first_keys: &'a [SessionKey],
    ) -> BoxFuture<'a, Result<Vec<Option<SessionKey>>, StoreError>> {
        let _ = first_keys;
        Box::pin(async {
            Err(StoreError::failed(
                "locate",
                "this store forgets the keys that sessions had",
            ))
        })
    }

    /// What was changed, also by others on the same store, from now on.
    fn changes(&self) -> Box<dyn Changes>;

    /// The way in which the nodes on this store tell each other something that is no change of a record, if there is one.
    /// By default there is none, and what is told stays on this node.
    fn channel(&self) -> Option<Arc<dyn Channel>> {
        None
    }
}

/// A subscription to what changes in a store: [`SessionStore::changes`].
///
/// Notices are hints. They say which records to read again and carry nothing to rely on; a subscriber that is slow or
/// cut off for a moment is told [`Notice::Lagged`] and must take every record that it keeps for outdated. While a store
/// can't hear what others do, it says [`Notice::Deaf`], and a subscriber reads everything from the store until it is
/// told [`Notice::Hearing`]. A subscription that begins meanwhile begins with `Deaf`.
pub trait Changes: Send {
    /// The next notice; `None` when the store is closed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    fn next(&mut self) -> BoxFuture<'_, Option<Notice>>;
}
