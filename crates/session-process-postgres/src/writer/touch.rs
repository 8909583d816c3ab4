//! Accesses, many in one statement.

use std::collections::BTreeMap;

use session_process::store::{SessionKey, StoreError, Touch};

use super::Writer;
use crate::error::{is_collision, store_error};

/// Rows of one statement: some milliseconds, in which others wait.
const SLICE: usize = 1_000;
/// How often a statement is tried again that met another one.
const ATTEMPTS: usize = 10;

impl Writer {
    pub(super) async fn touch(&mut self, touches: &[Touch]) -> Result<(), StoreError> {
        // The latest of each key, in the order of the keys.
        let mut latest: BTreeMap<SessionKey, i64> = BTreeMap::new();
        for Touch { key, accessed_at } in touches {
            let at = latest.entry(*key).or_insert(i64::MIN);
            *at = (*at).max(accessed_at.as_micros());
        }
        let rows: Vec<(SessionKey, i64)> = latest.into_iter().collect();
        for slice in rows.chunks(SLICE) {
            let limit = self.link.connector.timeout;
            match tokio::time::timeout(limit, self.touch_slice(slice)).await {
                Ok(result) => result?,
                Err(_) => {
                    self.link.give_up();
                    return Err(StoreError::Timeout { context: "touch" });
                }
            }
        }
        Ok(())
    }

    async fn touch_slice(&mut self, slice: &[(SessionKey, i64)]) -> Result<(), StoreError> {
        let shift = self.link.connector.clock.shift();
        let keys: Vec<&[u8]> = slice.iter().map(|(key, _)| &key.as_bytes()[..]).collect();
        let times: Vec<i64> = slice.iter().map(|(_, at)| *at).collect();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (client, statements) = self.link.ready().await?;
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&shift, &keys, &times];
            let touched = client
                .whole(false, client.execute(&statements.touch, &parameters))
                .await;
            match touched {
                Ok(_) => return Ok(()),
                Err(error) if is_collision(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(store_error("touch", error)),
            }
        }
    }
}
