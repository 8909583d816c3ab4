//! What changed: [`Notices`], and a subscription to them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use session_process::store::{BoxFuture, Changes, LockKey, Notice};
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};
use tokio_postgres::Client;

/// Notices that a slow subscriber may be behind before it is told [`Notice::Lagged`]. A notice is 80 bytes; reading
/// everything again costs more than keeping as many.
const BACKLOG: usize = 16_384;

/// Locks that were given up and that a slow waiter may be behind before it asks for its own.
const FREED: usize = 1_024;

/// Messages of nodes that a slow reader may be behind before it loses the oldest.
const MESSAGES: usize = 1_024;

/// The notices of one store, until it is closed.
#[derive(Debug)]
pub(crate) struct Notices {
    state: Mutex<State>,
    freed: Sender<LockKey>,
    /// The connection that listens, while it does: the one to tell other nodes something.
    speaker: Mutex<Option<Arc<Client>>>,
}

#[derive(Debug)]
struct State {
    sender: Option<Sender<Notice>>,
    messages: Option<Sender<Arc<str>>>,
    /// What other nodes do is not heard of.
    deaf: bool,
    /// Since when that is so, or isn't.
    since: Instant,
}

impl Notices {
    /// Deaf until somebody says otherwise.
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                sender: Some(channel(BACKLOG).0),
                messages: Some(channel(MESSAGES).0),
                deaf: true,
                since: Instant::now(),
            }),
            freed: channel(FREED).0,
            speaker: Mutex::default(),
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>) -> Subscription {
        let state = self.state.lock();
        Subscription {
            notices: Arc::clone(self),
            first: state.deaf.then_some(Notice::Deaf),
            receiver: state.sender.as_ref().map(Sender::subscribe),
        }
    }

    pub(crate) fn tell(&self, notices: impl IntoIterator<Item = Notice>) {
        let Some(sender) = self.state.lock().sender.clone() else {
            return;
        };
        if sender.receiver_count() > 0 {
            for notice in notices {
                // An error: the last receiver went away just now.
                let _ = sender.send(notice);
            }
        }
    }

    /// `false`: from now on, what others do is heard of.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        let mut state = self.state.lock();
        if state.deaf != deaf {
            state.deaf = deaf;
            state.since = Instant::now();
            let notice = if deaf { Notice::Deaf } else { Notice::Hearing };
            // Under the lock: a subscriber is told either at its beginning or here. Sending wakes tasks and runs none.
            if let Some(sender) = &state.sender {
                let _ = sender.send(notice);
            }
        }
    }

    pub(crate) fn is_deaf(&self) -> bool {
        self.state.lock().deaf
    }

    /// For how long that has been so, or hasn't.
    pub(crate) fn deaf_for(&self) -> (bool, Duration) {
        let state = self.state.lock();
        (state.deaf, state.since.elapsed())
    }

    /// A lock was given up, here or elsewhere.
    pub(crate) fn freed(&self, key: LockKey) {
        // An error: nobody waits for any.
        let _ = self.freed.send(key);
    }

    pub(crate) fn subscribe_freed(&self) -> Receiver<LockKey> {
        self.freed.subscribe()
    }

    /// Another node said something, or this one.
    pub(crate) fn said(&self, message: Arc<str>) {
        if let Some(messages) = &self.state.lock().messages {
            // An error: nobody listens.
            let _ = messages.send(message);
        }
    }

    pub(crate) fn subscribe_messages(&self) -> Receiver<Arc<str>> {
        let state = self.state.lock();
        // Nobody will say anything any more.
        let closed = || channel(1).1;
        state.messages.as_ref().map_or_else(closed, Sender::subscribe)
    }

    pub(crate) fn speak_through(&self, client: Option<Arc<Client>>) {
        let before = std::mem::replace(&mut *self.speaker.lock(), client);
        drop(before);
    }

    pub(crate) fn speaker(&self) -> Option<Arc<Client>> {
        self.speaker.lock().clone()
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&self) {
        let senders = {
            let mut state = self.state.lock();
            (state.sender.take(), state.messages.take())
        };
        // It wakes the subscribers: not under the lock.
        drop(senders);
    }
}

pub(crate) struct Subscription {
    notices: Arc<Notices>,
    first: Option<Notice>,
    receiver: Option<Receiver<Notice>>,
}

impl Changes for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Notice>> {
        Box::pin(async move {
            if let Some(first) = self.first.take() {
                return Some(first);
            }
            match self.receiver.as_mut()?.recv().await {
                Ok(notice) => Some(notice),
                Err(RecvError::Lagged(_)) => {
                    // It begins anew, without what it is behind with: everything has to be read again anyway, and an old
                    // "hearing" must not come after a new "deaf".
                    let state = self.notices.state.lock();
                    // Or the notice that was lost was that.
                    self.first = Some(if state.deaf { Notice::Deaf } else { Notice::Hearing });
                    self.receiver = state.sender.as_ref().map(Sender::subscribe);
                    Some(Notice::Lagged)
                }
                Err(RecvError::Closed) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use session_process::store::{SessionKey, Version};

    use super::*;

    /// Of what it missed, the end is still there. It must not take that for what is so now.
    #[tokio::test]
    async fn who_was_behind_is_told_the_present_state_last() {
        let notices = Arc::new(Notices::new());
        let mut behind = notices.subscribe();
        assert_eq!(behind.next().await, Some(Notice::Deaf));
        let changed = Notice::Changed {
            key: SessionKey::from_bytes([1; 32]),
            version: Version(1),
        };
        notices.tell(std::iter::repeat_n(changed, BACKLOG));
        for deaf in [false, true] {
            notices.set_deaf(deaf);
        }
        assert_eq!(behind.next().await, Some(Notice::Lagged));
        assert_eq!(behind.next().await, Some(Notice::Deaf));
        notices.set_deaf(false);
        assert_eq!(behind.next().await, Some(Notice::Hearing));
        notices.close();
        assert_eq!(behind.next().await, None);
    }
}
