//! What changed: [`Notices`], and a subscription to them.

use parking_lot::Mutex;
use session_process::store::{BoxFuture, Changes, Notice};
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

/// Notices that a slow subscriber may be behind before it is told [`Notice::Lagged`]. A notice is 48 bytes; reading
/// everything again costs more than keeping as many.
const BACKLOG: usize = 4096;

/// The notices of one store, until it is closed.
#[derive(Debug)]
pub(crate) struct Notices(Mutex<Option<Sender<Notice>>>);

impl Notices {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(channel(BACKLOG).0)))
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription(self.0.lock().as_ref().map(Sender::subscribe))
    }

    pub(crate) fn anybody(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|sender| sender.receiver_count() > 0)
    }

    pub(crate) fn tell(&self, notices: impl IntoIterator<Item = Notice>) {
        let Some(sender) = self
            .0
            .lock()
            .as_ref()
            .filter(|sender| sender.receiver_count() > 0)
            .cloned()
        else {
            return;
        };
        for notice in notices {
            // An error: the last receiver went away just now.
            let _ = sender.send(notice);
        }
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&self) {
        let sender = self.0.lock().take();
        // It wakes the subscribers: not under the lock.
        drop(sender);
    }
}

pub(crate) struct Subscription(Option<Receiver<Notice>>);

impl Changes for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Notice>> {
        Box::pin(async move {
            match self.0.as_mut()?.recv().await {
                Ok(notice) => Some(notice),
                Err(RecvError::Lagged(_)) => Some(Notice::Lagged),
                Err(RecvError::Closed) => None,
            }
        })
    }
}
