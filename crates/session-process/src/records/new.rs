//! [`NewSession`]: what is special about a session when it is made.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;

use super::{config::RecordsConfig, error::RecordError, view::SessionView};
use crate::{
    Attributes, SessionId, Timestamp,
    store::{AttributeMap, Create, Lifetime, OwnerText, Removed},
};

/// A session to be made: for [`SessionRecords::create`](super::SessionRecords::create).
///
/// ```
/// use std::time::Duration;
/// use session_process::records::NewSession;
///
/// let new = NewSession::for_user("ada")
///     .group("acme")
///     .label("Firefox on Linux")
///     .attribute("theme", "dark")
///     .lives(Duration::from_secs(3600))
///     .idle_timeout(None);
/// ```
///
/// What can't be (a name that is too long, a value that is no JSON) is an error of `create`.
#[derive(Clone, Default)]
#[must_use = "nothing happens before `create`"]
pub struct NewSession {
    user: Option<Arc<str>>,
    group: Option<Arc<str>>,
    label: Option<Arc<str>>,
    attributes: AttributeMap,
    values: Vec<(Arc<str>, Value, Option<Duration>)>,
    lives: Option<Option<Duration>>,
    ends_at: Option<Timestamp>,
    idle_timeout: Option<Option<Duration>>,
}

/// Without values, which may be secrets.
impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession")
            .field("user", &self.user)
            .field("group", &self.group)
            .field("label", &self.label)
            .field("attributes", &(self.attributes.len() + self.values.len()))
            .field("lives", &self.lives)
            .field("ends_at", &self.ends_at)
            .field("idle_timeout", &self.idle_timeout)
            .finish()
    }
}

/// A value, or why it is none: said when the session is made.
type Value = Result<serde_json::Value, Arc<serde_json::Error>>;

/// A session was made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Created {
    /// Its id, for the cookie.
    pub id: SessionId,
    /// The session.
    pub session: SessionView,
    /// Sessions of the same user that made room.
    pub evicted: Vec<Removed>,
}

impl NewSession {
    /// A session of nobody's.
    pub fn new() -> Self {
        Self::default()
    }

    /// A user's session: 1 to 255 bytes of text, whatever the application tells users apart by.
    pub fn for_user(user: impl Into<Arc<str>>) -> Self {
        Self {
            user: Some(user.into()),
            ..Self::default()
        }
    }

    /// What group it belongs to: a tenant, a team.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// How its user tells it from others: "Firefox on Linux".
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// An attribute.
    pub fn attribute(mut self, name: impl Into<Arc<str>>, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).map_err(Arc::new);
        self.values.push((name.into(), value, None));
        self
    }

    /// An attribute that is absent again `after` some time.
    pub fn attribute_expiring(mut self, name: impl Into<Arc<str>>, value: impl Serialize, after: Duration) -> Self {
        let value = serde_json::to_value(value).map_err(Arc::new);
        self.values.push((name.into(), value, Some(after)));
        self
    }

    /// All of these attributes.
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes.extend(attributes.into_map());
        self
    }

    /// How old it may become, in place of [`RecordsConfig::max_lifetime`]; `None`: any age.
    pub fn lives(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.lives = Some(lifetime.into());
        self
    }

    /// When it ends however much it is used, by the store's clock. In place of [`lives`](Self::lives).
    pub fn ends_at(mut self, at: Timestamp) -> Self {
        self.ends_at = Some(at);
        self
    }

    /// How long it may go unused, in place of [`RecordsConfig::idle_timeout`]; `None`: for good.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = Some(timeout.into());
        self
    }

    pub(super) fn into_create(self, config: &RecordsConfig, now: Timestamp) -> Result<Create, RecordError> {
        let text = |text: Option<Arc<str>>| text.map(OwnerText::new).transpose();
        config.attributes.check(&self.attributes, &AttributeMap::new())?;
        let mut attributes = Attributes::from_map(self.attributes, now).with_limits(config.attributes);
        for (name, value, after) in self.values {
            let value = value.map_err(|source| crate::AttributeError::Unserializable {
                key: Arc::clone(&name),
                source,
            })?;
            match after {
                None => attributes.insert(&name, value)?,
                Some(after) => attributes.insert_expiring(&name, value, after)?,
            }
        }
        let max_lifetime = self.lives.unwrap_or(config.max_lifetime);
        let user_id = text(self.user)?;
        Ok(Create {
            limit: user_id.as_ref().and(config.sessions_per_user),
            user_id,
            group_id: text(self.group)?,
            label: text(self.label)?,
            lifetime: Lifetime {
                expires_at: self
                    .ends_at
                    .or(max_lifetime.map(|lifetime| now.saturating_add(lifetime))),
                idle_timeout: self.idle_timeout.unwrap_or(config.idle_timeout),
            },
            attributes: attributes.into_map(),
            snapshot: None,
        })
    }
}
