//! Rows of session records: no processes, and so other peers than the rest.

mod get;
mod ours;
mod tower;

pub use get::GetCached;

use std::future::Future;

/// A service that reads sessions from a cache in front of a store.
pub(crate) trait Reader: Clone + Send + Sync + 'static {
    /// The name in the table.
    const NAME: &'static str;

    /// The id of a session, ready for use.
    type Id: Clone + Send + Sync + 'static;

    /// A session as it was read.
    type Session: Send;

    /// A service with room for many more sessions than are read.
    fn new() -> Self;

    /// Makes a session of a signed-in visitor: a name, a theme, a cart of three items.
    fn create(&self) -> impl Future<Output = Self::Id> + Send;

    /// Reads a session.
    fn get(&self, id: &Self::Id) -> impl Future<Output = Option<Self::Session>> + Send;
}
