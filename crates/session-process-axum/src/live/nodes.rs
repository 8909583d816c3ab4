//! Events for the pages of all nodes: told here, and carried to the others by the channel of their store.
//!
//! # Invariants
//! 1. No session id leaves this node: a session is named by its key, a hash.
//! 2. What is told here was taken for the others first, or there was an error and nobody was told.
//! 3. Events of one node reach each other node in the order in which they were pushed, each at most once.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_process::{
    records::SessionRecords,
    store::{Channel, Messages, SessionKey, SessionStore},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::pages::{Pages, WeakPages};

/// Events that may wait to be sent to other nodes.
const WAITING: usize = 1_024;

/// Events that go out together.
const TOGETHER: usize = 64;

/// Whose pages a [`Pages`] reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// Those of this node: the store has no way to the others, or there are none.
    ThisNode,
    /// Those of all nodes that have joined over the same store.
    AllNodes,
}

/// Why nobody was told an event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// It can't be written as JSON.
    #[error("what is pushed can't be written as JSON")]
    Json(#[from] serde_json::Error),
    /// It is too long to be carried to other nodes. Put what is large into the state of sessions, or let pages ask for it.
    #[error("an event for all nodes has {max} bytes at most, and this one has {bytes}")]
    TooLarge {
        /// Its length as JSON, in bytes.
        bytes: usize,
        /// What may be, in bytes.
        max: usize,
    },
    /// As many events as may wait to be sent to other nodes.
    #[error("too many events wait to be sent to other nodes")]
    Busy,
}

/// Whom an event is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum To {
    Session(#[serde(with = "key")] SessionKey),
    User(String),
    All,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    /// By whom: it has told its own pages. First, as [`Own`] looks for it there.
    from: u64,
    /// PostgreSQL takes two notifications for one that are the same and go out together.
    number: u64,
    to: To,
    name: std::borrow::Cow<'a, str>,
    data: std::borrow::Cow<'a, Value>,
}

/// The way to the other nodes.
pub(super) struct Others {
    node: u64,
    /// That they are on. Weak, so that no other one is ever taken for it.
    store: Weak<dyn SessionStore>,
    sent: u64,
    max_bytes: usize,
    outgoing: mpsc::Sender<String>,
}

impl Others {
    /// Joins the other nodes on the store, if it has a channel. Listens when it returns. `node`: the same each time, or
    /// this node would take what it sent before for another's.
    pub(super) fn join(pages: WeakPages, node: u64, records: &SessionRecords) -> Option<Self> {
        let store = records.store();
        let channel = store.channel()?;
        let (outgoing, queue) = mpsc::channel(WAITING);
        let max_bytes = channel.max_bytes();
        let messages = channel.subscribe();
        tokio::spawn(exchange(pages, Own::of(node), channel, messages, queue));
        Some(Self {
            node,
            store: Arc::downgrade(store),
            sent: 0,
            max_bytes,
            outgoing,
        })
    }

    /// Whether they are those on this store.
    pub(super) fn are_on(&self, store: &Arc<dyn SessionStore>) -> bool {
        std::ptr::addr_eq(self.store.as_ptr(), Arc::as_ptr(store))
    }

    /// Whether nothing goes to them any more, nor comes: the store is closed, or the task is gone that exchanges, with its
    /// runtime or because a store panicked.
    pub(super) fn are_gone(&self) -> bool {
        self.outgoing.is_closed()
    }

    /// Takes an event for the others. Nothing of it is told here.
    pub(super) fn take(&mut self, to: To, name: &str, data: &Value) -> Result<(), PushError> {
        let envelope = Envelope {
            from: self.node,
            number: self.sent,
            to,
            name: name.into(),
            data: std::borrow::Cow::Borrowed(data),
        };
        let message = serde_json::to_string(&envelope)?;
        let (bytes, max) = (message.len(), self.max_bytes);
        if bytes > max {
            return Err(PushError::TooLarge { bytes, max });
        }
        match self.outgoing.try_send(message) {
            Ok(()) => self.sent += 1,
            Err(TrySendError::Full(_)) => return Err(PushError::Busy),
            // Just now; whoever comes next forgets them.
            Err(TrySendError::Closed(_)) => {}
        }
        Ok(())
    }
}

/// Until the last `Pages` is gone, or the store is closed.
async fn exchange(
    pages: WeakPages,
    own: Own,
    channel: Arc<dyn Channel>,
    mut messages: Box<dyn Messages>,
    mut queue: mpsc::Receiver<String>,
) {
    let listen = async {
        while let Some(message) = messages.next().await {
            let Some(pages) = pages.upgrade() else { return };
            hear(&pages, &own, &message);
        }
    };
    let send = async {
        let mut some = Vec::new();
        while queue.recv_many(&mut some, TOGETHER).await > 0 {
            let count = some.len();
            if let Err(error) = channel.send(std::mem::take(&mut some)).await {
                // Not again: they may have been passed on.
                tracing::warn!(%error, count, "events did not reach the pages of other nodes");
            }
        }
    };
    tokio::select! {
        () = listen => {}
        () = send => {}
    }
    drop(queue);
    if let Some(pages) = pages.upgrade() {
        pages.part_if_gone();
    }
}

/// How messages of this node begin: each comes back to it, and need not be read.
struct Own(String);

impl Own {
    fn of(node: u64) -> Self {
        Self(format!("{{\"from\":{node},"))
    }

    fn is(&self, message: &str) -> bool {
        message.starts_with(&self.0)
    }
}

fn hear(pages: &Pages, own: &Own, message: &str) {
    if own.is(message) {
        return;
    }
    match serde_json::from_str::<Envelope<'_>>(message) {
        Ok(envelope) => {
            pages.tell_here(&envelope.to, &envelope.name, &envelope.data);
        }
        // Of another version, or of somebody who may write to the database.
        Err(_) => tracing::warn!("a message from another node can't be understood"),
    }
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others")
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// A key as text.
mod key {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use session_process::store::SessionKey;

    pub(super) fn serialize<S: Serializer>(key: &SessionKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(key.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SessionKey, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&*text).map_err(D::Error::custom)?;
        let bytes = bytes.try_into().map_err(|_| D::Error::custom("a key has 32 bytes"))?;
        Ok(SessionKey::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_knows_its_own_messages_by_their_beginning() {
        let envelope = Envelope {
            from: 12,
            number: 3,
            to: To::All,
            name: "x".into(),
            data: std::borrow::Cow::Owned(Value::Null),
        };
        let message = serde_json::to_string(&envelope).unwrap();
        assert!(Own::of(12).is(&message), "{message}");
        assert!(!Own::of(1).is(&message) && !Own::of(123).is(&message), "{message}");
    }
}
