//! Messages between nodes, as notifications on the connection that listens.
//!
//! That connection is there, it is in use a few times a second at most, and PostgreSQL delivers the notifications of one
//! connection in the order in which it sent them.

use std::sync::Arc;

use session_process::store::{BoxFuture, Channel, Messages, StoreError};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;

use crate::{changes::Notices, client::Hidden, connection::Connector, error::store_error, listener::TOLD};

/// A payload has to be shorter than 8,000 bytes (`NOTIFY_PAYLOAD_MAX_LENGTH`); what it begins with is ours.
const MAX_BYTES: usize = 7_900;

pub(crate) struct Notifications {
    pub(crate) notices: Arc<Notices>,
    pub(crate) connector: Arc<Connector>,
}

impl Channel for Notifications {
    fn max_bytes(&self) -> usize {
        MAX_BYTES
    }

    fn send(&self, messages: Vec<String>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if messages.iter().any(|message| message.len() > MAX_BYTES) {
                return Err(StoreError::failed("tell other nodes", "a message is too long"));
            }
            let client = self.notices.speaker().ok_or(StoreError::Unavailable {
                context: "tell other nodes",
                source: None,
            })?;
            let sql = "SELECT pg_notify($1, $2 || told.message)::text \
                       FROM unnest($3::text[]) WITH ORDINALITY AS told (message, place) ORDER BY place";
            let channel = self.connector.names.channel();
            let parameters: [&(dyn ToSql + Sync); 3] = [&channel, &TOLD, &Hidden(&messages)];
            match timeout(self.connector.timeout, client.query(sql, &parameters)).await {
                Ok(told) => told.map(drop).map_err(|error| store_error("tell other nodes", error)),
                Err(_) => Err(StoreError::Timeout {
                    context: "tell other nodes",
                }),
            }
        })
    }

    fn subscribe(&self) -> Box<dyn Messages> {
        Box::new(self.notices.subscribe_messages())
    }
}
