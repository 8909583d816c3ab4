//! [`Channel`]: the nodes on one store tell each other something.

use std::sync::Arc;

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{BoxFuture, StoreError};

/// Carries short messages between the nodes on one store: what a store can do beside keeping records, and need not
/// ([`SessionStore::channel`](super::SessionStore::channel)).
///
/// A message reaches each subscriber at most once: those that listen when the store passes it on, whoever sent it. Nobody
/// keeps it, so it is for what may get lost. The messages of one sender that waits for each `send` come in its order.
pub trait Channel: Send + Sync + 'static {
    /// The longest message that goes through, in bytes.
    fn max_bytes(&self) -> usize;

    /// Sends messages, in their order; returns when the store has taken them.
    ///
    /// # Errors
    /// Where the store can't be reached, or one is longer than [`max_bytes`](Self::max_bytes) or has a NUL in it. None or all
    /// of them may have been passed on: to send them again is to risk that they come twice.
    ///
    /// # Cancel safety
    /// They may be passed on all the same.
    fn send(&self, messages: Vec<String>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What is sent, from now on.
    fn subscribe(&self) -> Box<dyn Messages>;
}

/// A subscription to a [`Channel`]. One that reads slowly loses the oldest messages, and is not told.
pub trait Messages: Send {
    /// The next message; `None` when the store is closed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    fn next(&mut self) -> BoxFuture<'_, Option<Arc<str>>>;
}

/// For a store that passes messages on within this process in the end.
impl Messages for Receiver<Arc<str>> {
    fn next(&mut self) -> BoxFuture<'_, Option<Arc<str>>> {
        Box::pin(async move {
            loop {
                match self.recv().await {
                    Ok(message) => return Some(message),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }
}
