//! [`RecordHandle`]: what a page may show for a session.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::{SessionId, store::SessionKey};

/// The public name of a session, for the list of one's sessions: to show, to put into a form, to end one by.
///
/// 128 bits of a hash of the session's key, so it tells sessions apart for certain and can't be turned back into the
/// id. It is no password: [`SessionRecords::delete_listed`](super::SessionRecords::delete_listed) takes it together
/// with the owner whose session it must be.
///
/// ```
/// use session_process::{SessionId, records::RecordHandle};
///
/// let id = SessionId::generate();
/// let handle = RecordHandle::of(&id);
/// assert_eq!(handle.to_string().parse(), Ok(handle));
/// assert!(!handle.to_string().contains(id.expose()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordHandle([u8; 16]);

impl RecordHandle {
    /// That of this session: to mark it in a list.
    #[must_use]
    pub fn of(id: &SessionId) -> Self {
        Self::of_key(&SessionKey::of(id))
    }

    /// That of the session under this key.
    #[must_use]
    pub fn of_key(key: &SessionKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"session-process/record-handle\0");
        hash.update(key.as_bytes());
        let hash = hash.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        Self(short)
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for RecordHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RecordHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordHandle {
    type Err = InvalidRecordHandle;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidRecordHandle);
        }
        u128::from_str_radix(text, 16)
            .map(|number| Self(number.to_be_bytes()))
            .map_err(|_| InvalidRecordHandle)
    }
}

/// Not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handle of a session has 32 hexadecimal digits")]
pub struct InvalidRecordHandle;
