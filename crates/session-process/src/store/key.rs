//! [`SessionKey`]: what a store knows of a session's id.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::SessionId;

/// The key of a record: SHA-256 of the session's id.
///
/// An id is a password, and a store keeps none: who reads a database, or a copy of it, can sign in as nobody. Ids have
/// 192 random bits, so the hash needs neither salt nor stretching.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of this id.
    #[must_use]
    pub fn of(id: &SessionId) -> Self {
        Self(Sha256::digest(id.as_bytes()).into())
    }

    /// As a store wrote it down.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As a store writes it down.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<&SessionId> for SessionKey {
    fn from(id: &SessionId) -> Self {
        Self::of(id)
    }
}

/// Its first six bytes: enough to find a row by.
impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("k.")?;
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_neither_the_id_nor_its_public_handle() {
        let id = SessionId::generate();
        let key = format!("{:?}", SessionKey::of(&id));
        assert!(!key.contains(id.expose()));
        assert_ne!(key[2..], id.public_handle().to_string()[2..]);
    }
}
