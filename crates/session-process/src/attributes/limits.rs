//! [`Limits`]: how much a session's attributes may hold.

use std::sync::Arc;

use super::AttributeError;
use crate::store::AttributeMap;

/// How much a session's attributes may hold. They bind what is set, not what is already there.
///
/// | Limit | Ours | gopgsession | Why |
/// |---|---|---|---|
/// | `max_key_len` | 128 bytes | none | A key is a name in a program. What is longer was made from input. |
/// | `max_value_len` | 16 KiB of JSON | 16 KiB, at updates only | A session is read and written whole. What is larger belongs in a table of its own, with its id in the session. |
/// | `max_count` | 100 | none | With the other two, a session stays under 2 MiB whatever a visitor does. |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest key, in bytes.
    pub max_key_len: usize,
    /// The longest value, in bytes of its JSON text.
    pub max_value_len: usize,
    /// How many attributes there may be; those that have expired are not counted.
    pub max_count: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_key_len: 128,
            max_value_len: 16 * 1024,
            max_count: 100,
        }
    }
}

impl Limits {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another longest key, in bytes.
    #[must_use]
    pub fn max_key_len(mut self, bytes: usize) -> Self {
        self.max_key_len = bytes;
        self
    }

    /// Another longest value, in bytes of its JSON text.
    #[must_use]
    pub fn max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Another number of attributes.
    #[must_use]
    pub fn max_count(mut self, count: usize) -> Self {
        self.max_count = count;
        self
    }

    /// Attributes that were not set one by one under these limits, in place of those `before`.
    pub(crate) fn check(self, map: &AttributeMap, before: &AttributeMap) -> Result<(), AttributeError> {
        for (key, attribute) in map
            .iter()
            .filter(|(key, attribute)| before.get(*key) != Some(attribute))
        {
            if key.is_empty() || key.chars().any(char::is_control) {
                return Err(AttributeError::InvalidKey);
            }
            if key.len() > self.max_key_len {
                return Err(AttributeError::KeyTooLong {
                    len: key.len(),
                    max: self.max_key_len,
                });
            }
            if attribute.json.len() > self.max_value_len {
                return Err(AttributeError::ValueTooLong {
                    key: Arc::clone(key),
                    max: self.max_value_len,
                });
            }
        }
        match map.keys().next_back() {
            Some(key) if map.len() > self.max_count.max(before.len()) => Err(AttributeError::TooMany {
                key: Arc::clone(key),
                max: self.max_count,
            }),
            _ => Ok(()),
        }
    }
}
