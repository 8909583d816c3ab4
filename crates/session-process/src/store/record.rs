//! [`Record`]: what a store keeps of one session.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::SessionKey;
use crate::Timestamp;

/// What a store keeps of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The hash of its id.
    pub key: SessionKey,
    /// The key under which it was created: the same however often it gets another id.
    pub first_key: SessionKey,
    /// Grows with every change; not with an access.
    pub version: Version,
    /// Grows with every owner in a cluster. `Epoch(0)` until a session has one.
    pub epoch: Epoch,
    /// Whose session it is.
    pub user_id: Option<OwnerText>,
    /// A tenant, a team, a company: whatever sessions are ended together by.
    pub group_id: Option<OwnerText>,
    /// How its user tells it from others: "Firefox on Linux".
    pub label: Option<OwnerText>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last used, as far as the store was told.
    pub accessed_at: Timestamp,
    /// How long it may live.
    pub lifetime: Lifetime,
    /// Its attributes. Those that have expired are among them until somebody changes the record.
    pub attributes: AttributeMap,
    /// The state of its process, if that is durable.
    pub snapshot: Option<Snapshot>,
}

impl Record {
    /// A record with nothing in it but its key and its times.
    #[must_use]
    pub fn new(key: SessionKey, version: Version, now: Timestamp, lifetime: Lifetime) -> Self {
        Self {
            key,
            first_key: key,
            version,
            epoch: Epoch::default(),
            user_id: None,
            group_id: None,
            label: None,
            created_at: now,
            accessed_at: now,
            lifetime,
            attributes: AttributeMap::new(),
            snapshot: None,
        }
    }

    /// Its time is over at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at() <= now
    }

    /// When it ends, unless it is used again.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.lifetime.ends(self.accessed_at)
    }
}

/// Attributes by name.
pub type AttributeMap = BTreeMap<Arc<str>, Attribute>;

/// A named value of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The value as JSON text: what every store can keep and every tool can show. It is kept byte for byte, but for
    /// white space around it. What is not JSON is an error for the whole batch in stores that look, and nothing of the
    /// batch takes effect.
    pub json: Arc<str>,
    /// The version of the record when this attribute was last set.
    pub version: Version,
    /// From then on it is absent.
    pub expires_at: Option<Timestamp>,
}

impl Attribute {
    /// It is absent at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Without the value, which is the user's affair and may be a secret.
impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attribute")
            .field("bytes", &self.json.len())
            .field("version", &self.version)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// The two time limits of a record, by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// It ends then, however much it is used. `None`: at any age.
    pub expires_at: Option<Timestamp>,
    /// It ends when it was not used for this long. `None`: never by that.
    pub idle_timeout: Option<Duration>,
}

impl Lifetime {
    /// When a session ends that was last used at `accessed_at`; [`Timestamp::MAX`]: never.
    #[must_use]
    pub fn ends(self, accessed_at: Timestamp) -> Timestamp {
        let idle = self
            .idle_timeout
            .map_or(Timestamp::MAX, |idle| accessed_at.saturating_add(idle));
        self.expires_at.map_or(idle, |at| at.min(idle))
    }
}

/// Grows with every change to a record. Below 2⁶³, so every database can hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

/// The fencing token of a session's owner in a cluster: it grows with each owner, and a store refuses writes under an
/// older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// The state of a process, written down.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which type of process wrote it: a name that the application chose.
    pub kind: Arc<str>,
    /// Which version of that type's schema.
    pub schema: u32,
    /// The state, in the type's own encoding.
    pub bytes: Arc<[u8]>,
}

/// Without the state.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("kind", &self.kind)
            .field("schema", &self.schema)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// Whose sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// A user's.
    User(OwnerText),
    /// A group's.
    Group(OwnerText),
    /// Everybody's.
    Everyone,
}

/// A user's or a group's name, or a label: text of 1 to [`MAX_LEN`](Self::MAX_LEN) bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerText(Arc<str>);

impl OwnerText {
    /// The longest text, in bytes. Room for an e-mail address (254, RFC 5321), a URL as subject of an OpenID token
    /// (255), or a UUID.
    pub const MAX_LEN: usize = 255;

    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidOwner`](crate::store::StoreError::InvalidOwner) if it is empty, too long, or has a NUL, which PostgreSQL can't keep.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, super::StoreError> {
        let text = text.into();
        if text.is_empty() || text.len() > Self::MAX_LEN || text.contains('\0') {
            return Err(super::StoreError::InvalidOwner { len: text.len() });
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
