#![doc = include_str!("../../docs/events.md")]

mod event;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
mod trace;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::broadcast;

pub use self::event::{Event, RefusedId};
pub(crate) use self::trace::{warn_of_no_records, warn_of_unsaved};

/// Events that a slow subscriber may be behind before it loses the oldest.
const BACKLOG: usize = 1024;

/// Where the engine says what happens.
///
/// A call or a cast asks [`watched`](Self::watched) first, and where nobody listens pays for two relaxed loads: no
/// clock is read, no hash made, no event built.
pub(crate) struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    subscribers: Arc<AtomicUsize>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::channel(BACKLOG).0,
            subscribers: Arc::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> Subscriber {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
        Subscriber {
            receiver: self.sender.subscribe(),
            subscribers: Arc::clone(&self.subscribers),
        }
    }

    /// Somebody listens to the events of single messages.
    #[inline]
    pub(crate) fn watched(&self) -> bool {
        cfg!(feature = "metrics") || self.subscribers.load(Ordering::Relaxed) > 0 || trace::messages_enabled()
    }

    /// Somebody listens to the events of sessions.
    pub(crate) fn listened(&self) -> bool {
        cfg!(feature = "metrics") || self.subscribers.load(Ordering::Relaxed) > 0 || trace::any_enabled()
    }

    /// Builds the event where somebody listens, and hands it to all who do.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if !self.listened() {
            return;
        }
        let event = event();
        trace::write(&event);
        #[cfg(feature = "metrics")]
        metrics::record(&event);
        if self.subscribers.load(Ordering::Relaxed) > 0 {
            // An error: the last receiver went away just now.
            let _ = self.sender.send(Arc::new(event));
        }
    }
}

/// The events of an engine, from the moment of subscription. Made by
/// [`Sessions::events`](crate::Sessions::events).
#[derive(Debug)]
pub struct Subscriber {
    receiver: broadcast::Receiver<Arc<Event>>,
    subscribers: Arc<AtomicUsize>,
}

impl Subscriber {
    /// The next event; `None` when the engine is gone.
    ///
    /// # Errors
    /// [`Lagged`] when this subscriber was so slow that events were dropped; the next call goes on with the oldest
    /// that is left.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn recv(&mut self) -> Result<Option<Arc<Event>>, Lagged> {
        match self.receiver.recv().await {
            Ok(event) => Ok(Some(event)),
            Err(broadcast::error::RecvError::Closed) => Ok(None),
            Err(broadcast::error::RecvError::Lagged(missed)) => Err(Lagged { missed }),
        }
    }

    /// Waits for an event of which `wanted` makes something. For tests: they wait for what they name and never sleep.
    /// `None` when the engine is gone.
    ///
    /// # Cancel safety
    /// Events seen before the future was dropped are gone.
    pub async fn find<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Option<T> {
        loop {
            match self.recv().await {
                Ok(Some(event)) => {
                    if let Some(found) = wanted(&event) {
                        return Some(found);
                    }
                }
                Ok(None) => return None,
                Err(Lagged { .. }) => {}
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// This subscriber was too slow and missed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subscriber was too slow and missed {missed} events")]
pub struct Lagged {
    /// How many.
    pub missed: u64,
}
