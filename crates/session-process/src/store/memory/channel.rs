//! Between records that share a store in one program, as tests of several nodes do.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::super::{BoxFuture, Channel, Messages, StoreError};

/// Messages that a slow subscriber may be behind before it loses the oldest.
const BACKLOG: usize = 256;

/// Nothing forbids longer ones here; but what works in tests is to work with a database too.
const MAX_BYTES: usize = 7_900;

#[derive(Debug)]
pub(super) struct MemoryChannel(broadcast::Sender<Arc<str>>);

impl MemoryChannel {
    pub(super) fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl Channel for MemoryChannel {
    fn max_bytes(&self) -> usize {
        MAX_BYTES
    }

    fn send(&self, messages: Vec<String>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if messages.iter().any(|message| message.len() > MAX_BYTES) {
                return Err(StoreError::failed("tell other nodes", "a message is too long"));
            }
            for message in messages {
                // An error: nobody listens.
                let _ = self.0.send(message.into());
            }
            Ok(())
        })
    }

    fn subscribe(&self) -> Box<dyn Messages> {
        Box::new(self.0.subscribe())
    }
}
