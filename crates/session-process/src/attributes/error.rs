//! [`AttributeError`]: why an attribute was not read or set.

use std::{error::Error as StdError, sync::Arc};

use crate::store::Version;

/// Why an attribute was not read or set. Nothing was changed.
///
/// No variant repeats a value: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The attribute is there, and is of another type.
    #[error("attribute `{key}` can't be read as {expected}: it is {found} (at column {column} of its JSON)")]
    WrongType {
        /// Which attribute.
        key: Arc<str>,
        /// The type that was asked for.
        expected: &'static str,
        /// What kind of JSON it is: `text`, `a number`, `an object`.
        found: &'static str,
        /// Where in its JSON text the two part, counted from 1; 0 where that is not known.
        column: usize,
    },
    /// The value can't be written as JSON: a map with keys that are not text, or an error of its own `Serialize`.
    #[error("the value for attribute `{key}` can't be written as JSON")]
    Unserializable {
        /// Which attribute.
        key: Arc<str>,
        /// What serde said.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// Not a key: empty, or with a control character in it (PostgreSQL can't keep a NUL).
    #[error("an attribute's key has at least one character and no control characters")]
    InvalidKey,
    /// The key is longer than it may be.
    #[error("the key of an attribute has {len} bytes; {max} are allowed")]
    KeyTooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit: [`Limits::max_key_len`](super::Limits::max_key_len).
        max: usize,
    },
    /// The value is longer than it may be.
    #[error("the value for attribute `{key}` has more than the {max} bytes of JSON that are allowed")]
    ValueTooLong {
        /// Which attribute.
        key: Arc<str>,
        /// The limit: [`Limits::max_value_len`](super::Limits::max_value_len).
        max: usize,
    },
    /// There are as many attributes as may be.
    #[error("there is no room for attribute `{key}`: a session has {max} attributes at the most")]
    TooMany {
        /// Which attribute.
        key: Arc<str>,
        /// The limit: [`Limits::max_count`](super::Limits::max_count).
        max: usize,
    },
    /// The attribute was set, or removed, since its version was read.
    #[error("attribute `{key}` was changed meanwhile")]
    Changed {
        /// Which attribute.
        key: Arc<str>,
        /// Its version now; `None`: it is absent.
        version: Option<Version>,
    },
    /// The application's own reason to undo an update: see [`refuse`](Self::refuse).
    #[error(transparent)]
    Refused(Arc<dyn StdError + Send + Sync>),
    /// The closure of an update panicked. What it had changed was undone.
    #[error("an update of the attributes panicked and was undone")]
    Panicked,
}

impl AttributeError {
    /// For an update to be undone for a reason of the application's.
    ///
    /// ```
    /// # use session_process::{AttributeError, Attributes, Timestamp};
    /// let mut attributes = Attributes::new(Timestamp::system());
    /// attributes.insert("credit", 3)?;
    /// let spent = attributes.all_or_nothing(|attributes| {
    ///     let credit: i64 = attributes.update("credit", |credit: &mut i64| { *credit -= 5; *credit })?;
    ///     if credit < 0 { Err(AttributeError::refuse("not enough credit")) } else { Ok(()) }
    /// });
    /// assert_eq!(spent.unwrap_err().to_string(), "not enough credit");
    /// assert_eq!(attributes.get::<i64>("credit")?, Some(3));
    /// # Ok::<(), AttributeError>(())
    /// ```
    pub fn refuse(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Refused(Arc::from(reason.into()))
    }

    /// A short stable word for the kind, for logs and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WrongType { .. } => "wrong_type",
            Self::Unserializable { .. } => "unserializable",
            Self::InvalidKey => "invalid_key",
            Self::KeyTooLong { .. } => "key_too_long",
            Self::ValueTooLong { .. } => "value_too_long",
            Self::TooMany { .. } => "too_many",
            Self::Changed { .. } => "changed",
            Self::Refused(_) => "refused",
            Self::Panicked => "panicked",
        }
    }
}
