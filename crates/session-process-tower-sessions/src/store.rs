//! [`RecordStore`]: their store over our records.

use async_trait::async_trait;
use session_process::records::{NewSession, RecordError, SessionRecords};
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
    session_store::{Error, ExpiredDeletion, Result},
};

use crate::convert;

/// The [`SessionStore`] of tower-sessions over [`SessionRecords`], and so over any store of ours.
///
/// ```
/// use session_process::{records::SessionRecords, store::MemoryStore};
/// use session_process_tower_sessions::RecordStore;
/// use tower_sessions::SessionManagerLayer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let records = SessionRecords::builder(MemoryStore::new()).build()?;
/// let layer = SessionManagerLayer::new(RecordStore::new(records));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Backend`](Error::Backend): the store failed, or the session to be saved is no more; [`Encode`](Error::Encode): a
/// value breaks a limit; [`Decode`](Error::Decode): what is in the store is not what was written.
///
/// # Cancel safety
/// A change whose future is dropped may have been made, whole or not at all.
#[derive(Debug, Clone)]
pub struct RecordStore {
    records: SessionRecords,
}

impl RecordStore {
    /// A store over these records.
    #[must_use]
    pub fn new(records: SessionRecords) -> Self {
        Self { records }
    }

    /// The records: to list and end sessions by user.
    #[must_use]
    pub fn records(&self) -> &SessionRecords {
        &self.records
    }
}

#[async_trait]
impl SessionStore for RecordStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let ends_at = convert::timestamp(record.expiry_date);
        record.expiry_date = convert::date(ends_at);
        let attributes = convert::attributes(record, self.records.now())?;
        loop {
            let new = NewSession::new()
                .attributes(attributes.clone())
                .ends_at(ends_at)
                .idle_timeout(None);
            match self.records.create_with_id(convert::session_id(record.id), new).await {
                Ok(_) => return Ok(()),
                Err(RecordError::Exists) => record.id = Id::default(),
                Err(error) => return Err(convert::error(error)),
            }
        }
    }

    /// Never makes a session: one that was deleted meanwhile stays so.
    async fn save(&self, record: &Record) -> Result<()> {
        let attributes = convert::attributes(record, self.records.now())?;
        let ends_at = convert::timestamp(record.expiry_date);
        let id = convert::session_id(record.id);
        let saved = self.records.replace(&id, attributes, Some(ends_at)).await;
        saved.map(drop).map_err(convert::error)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.records.get(&convert::session_id(*id)).await;
        let found = found.map_err(|error| Error::Backend(convert::text(&error)))?;
        found.map(|view| convert::record(*id, &view)).transpose()
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let deleted = self.records.delete(&convert::session_id(*id)).await;
        deleted.map(drop).map_err(|error| Error::Backend(convert::text(&error)))
    }
}

#[async_trait]
impl ExpiredDeletion for RecordStore {
    async fn delete_expired(&self) -> Result<()> {
        let cleaned = self.records.clean_up().await;
        cleaned.map(drop).map_err(|error| Error::Backend(convert::text(&error)))
    }
}
