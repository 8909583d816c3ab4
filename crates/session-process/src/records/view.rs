//! [`SessionView`]: a session as it was when it was read; [`Listed`]: one of a list.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;

use super::{entry::Entry, handle::RecordHandle};
use crate::{
    AttributeError, Attributes, Timestamp,
    attributes::read_json,
    store::{Attribute, OwnerText, Record, SessionKey, Snapshot, Version},
};

/// A session as it was when it was read. Cheap to clone: what it holds is shared with the cache.
///
/// What had expired by then is not in it.
#[derive(Clone)]
pub struct SessionView {
    pub(super) entry: Arc<Entry>,
    pub(super) now: Timestamp,
    pub(super) current: bool,
}

impl SessionView {
    /// Whether it is the session as the store has it, as far as that can be known. `false`: the store is away, and this
    /// is what was known before; see [`cached_while_away`](super::RecordsBuilder::cached_while_away).
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.current
    }

    fn record(&self) -> &Record {
        &self.entry.record
    }

    /// The key under which it is stored.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        self.record().key
    }

    /// Its public name.
    #[must_use]
    pub fn handle(&self) -> RecordHandle {
        RecordHandle::of_key(&self.record().key)
    }

    /// Grows with every change.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record().version
    }

    /// Whose session it is.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.record().user_id.as_ref().map(OwnerText::as_str)
    }

    /// What group it belongs to.
    #[must_use]
    pub fn group_id(&self) -> Option<&str> {
        self.record().group_id.as_ref().map(OwnerText::as_str)
    }

    /// How its user tells it from others.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.record().label.as_ref().map(OwnerText::as_str)
    }

    /// When it was created, by the store's clock.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.record().created_at
    }

    /// When it was last used, this reading included if it is a use; as far as this node knows.
    #[must_use]
    pub fn accessed_at(&self) -> Timestamp {
        self.entry.accessed_at()
    }

    /// When it ends unless it is used again; [`Timestamp::MAX`]: never.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.entry.expires_at()
    }

    /// When it was read, by the store's clock: what had expired by then is left out.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A value; `None` if it is absent or had expired.
    ///
    /// # Errors
    /// [`WrongType`](AttributeError::WrongType) if it is of another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, AttributeError> {
        let attribute = self.attribute(name);
        attribute.map(|attribute| read_json(name, &attribute.json)).transpose()
    }

    /// A value as it is kept: its JSON text, version and expiry.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        let attribute = self.record().attributes.get(name)?;
        (!attribute.is_expired(self.now)).then_some(attribute)
    }

    /// A copy of all attributes.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes::from_map(self.record().attributes.clone(), self.now)
    }

    /// The state of its process, if that is durable.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.record().snapshot.as_ref()
    }
}

/// Without ids and values.
impl fmt::Debug for SessionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionView")
            .field("key", &self.key())
            .field("version", &self.version())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// One of a list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its public name: to show, and to end it by.
    pub handle: RecordHandle,
    /// The key under which it is stored: where the next page begins. Not for pages.
    pub key: SessionKey,
    /// Its version.
    pub version: Version,
    /// Whose it is.
    pub user_id: Option<OwnerText>,
    /// What group it belongs to.
    pub group_id: Option<OwnerText>,
    /// How its user tells it from others.
    pub label: Option<OwnerText>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last used, also by what this node has not told the store yet.
    pub accessed_at: Timestamp,
    /// When it ends unless it is used again; [`Timestamp::MAX`]: never.
    pub expires_at: Timestamp,
}
