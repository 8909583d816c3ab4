//! [`SessionId`]: what the cookie carries, and the [`PublicHandle`] that stands for it in logs.
//!
//! # Invariants
//! 1. A `SessionId` that exists is well-formed: `[A-Za-z0-9_-]`, 1 to [`SessionId::MAX_LEN`] bytes.
//! 2. An id is a password. Its text leaves only through [`SessionId::expose`]; `Debug` and `Display` show the
//!    public handle.

use std::{
    fmt,
    hash::{self, Hasher as _},
    str::FromStr,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// Ids up to this length are kept in place: generated ones (32 bytes) and UUIDs (36) among them.
const INLINE: usize = 38;

/// The id of a session: the secret in the user's cookie.
///
/// Generated ids are 192 random bits as 32 characters of URL-safe text. Ids that the application gives are checked:
/// `[A-Za-z0-9_-]`, at most [`MAX_LEN`](Self::MAX_LEN) bytes.
///
/// Whoever knows the id has the session, so it is never printed: `Debug` and `Display` show a short
/// [`PublicHandle`] derived from a hash. To write it into a cookie, say so: [`expose`](Self::expose).
///
/// ```
/// use session_process::SessionId;
///
/// let id = SessionId::generate();
/// assert_eq!(id.expose().len(), 32);
/// assert!(!format!("{id} {id:?}").contains(id.expose()));
///
/// let given: SessionId = "room-42".parse()?;
/// assert_eq!(given.expose(), "room-42");
/// assert!("no spaces".parse::<SessionId>().is_err());
/// # Ok::<(), session_process::InvalidSessionId>(())
/// ```
#[derive(Clone)]
pub struct SessionId(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Long(Arc<[u8]>),
}

impl SessionId {
    /// The longest id that is accepted, in bytes. Four times a generated one: room for ids with a signature or a
    /// prefix, and far below the 4,096 bytes that browsers keep of a cookie (RFC 6265bis, section 5.7).
    pub const MAX_LEN: usize = 128;

    /// Random bits of a generated id. OWASP ASVS 5.0 (7.2.3) asks for at least 128.
    pub const RANDOM_BITS: usize = 192;

    /// A new id from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system has no randomness to give. There is no safe way on from there.
    #[must_use]
    pub fn generate() -> Self {
        let mut random = [0u8; Self::RANDOM_BITS / 8];
        getrandom::fill(&mut random).expect("the operating system's random source failed");
        let mut bytes = [0u8; INLINE];
        let len = URL_SAFE_NO_PAD
            .encode_slice(random, &mut bytes)
            .expect("24 bytes are 32 characters");
        Self(Repr::Inline { len: len as u8, bytes })
    }

    /// Checks `bytes` and makes them an id.
    ///
    /// # Errors
    /// [`InvalidSessionId`] says what is wrong, and never repeats the input.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidSessionId> {
        match bytes.len() {
            0 => return Err(InvalidSessionId::Empty),
            len if len > Self::MAX_LEN => return Err(InvalidSessionId::TooLong { len }),
            _ => {}
        }
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if let Some(position) = bytes.iter().position(|byte| !allowed(byte)) {
            return Err(InvalidSessionId::Forbidden { position });
        }
        Ok(Self(if bytes.len() <= INLINE {
            let mut inline = [0u8; INLINE];
            inline[..bytes.len()].copy_from_slice(bytes);
            Repr::Inline {
                len: bytes.len() as u8,
                bytes: inline,
            }
        } else {
            Repr::Long(bytes.into())
        }))
    }

    /// The id itself, for the cookie. Never for a log, an error, a URL or a metric.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("checked when it was made: ASCII only")
    }

    /// The short name that stands for this id wherever people can read it.
    #[must_use]
    pub fn public_handle(&self) -> PublicHandle {
        // The prefix keeps the handle apart from the hash that stores use as their key: neither tells the other.
        let mut hash = Sha256::new();
        hash.update(b"session-process/public-handle\0");
        hash.update(self.as_bytes());
        let hash = hash.finalize();
        let mut short = [0u8; 6];
        short.copy_from_slice(&hash[..6]);
        PublicHandle(short)
    }

    /// Its hash, for the registry.
    #[inline]
    pub(crate) fn hash_by(&self, build: &impl hash::BuildHasher) -> u64 {
        let mut hasher = build.build_hasher();
        match &self.0 {
            Repr::Inline { bytes, .. } => words(bytes).into_iter().for_each(|word| hasher.write_u128(word)),
            Repr::Long(bytes) => hasher.write(bytes),
        }
        hasher.finish()
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(bytes) => bytes,
        }
    }
}

/// The text as numbers, the last of which overlaps the one before. To hash and to compare them is some instructions;
/// bytes would go through a loop and a call, and every message looks its session up.
#[inline]
fn words(bytes: &[u8; INLINE]) -> [u128; 3] {
    const WORD: usize = size_of::<u128>();
    [0, WORD, INLINE - WORD].map(|at| {
        let word = bytes[at..at + WORD].try_into().expect("as long as a word");
        u128::from_ne_bytes(word)
    })
}

impl PartialEq for SessionId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // What follows the text is zero in both.
            (
                Repr::Inline { len, bytes },
                Repr::Inline {
                    len: other_len,
                    bytes: other,
                },
            ) => {
                // Not `==` of the arrays, which would be a call again.
                len == other_len && words(bytes).iter().zip(&words(other)).all(|(one, other)| one == other)
            }
            (Repr::Long(bytes), Repr::Long(other)) => bytes == other,
            // Which form an id has depends on its length alone.
            _ => false,
        }
    }
}

impl Eq for SessionId {}

impl hash::Hash for SessionId {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.public_handle())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public_handle().fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bytes(text.as_bytes())
    }
}

impl TryFrom<&str> for SessionId {
    type Error = InvalidSessionId;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::from_bytes(text.as_bytes())
    }
}

/// A short name for a session that people may read: in logs, events and lists. It can't be turned back into the id.
///
/// 48 bits of a SHA-256, so it tells sessions apart for a reader; it is not an identity to decide by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicHandle([u8; 6]);

impl fmt::Display for PublicHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("s.")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a session id. It never repeats the text: a slip of one character would be somebody's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSessionId {
    /// There is nothing.
    #[error("session id is empty")]
    Empty,
    /// Longer than [`SessionId::MAX_LEN`].
    #[error("session id has {len} bytes, more than the {} allowed", SessionId::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A byte outside `[A-Za-z0-9_-]`.
    #[error("session id has a forbidden byte at position {position} (allowed: A-Z, a-z, 0-9, '-', '_')")]
    Forbidden {
        /// Where, counted in bytes from 0.
        position: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn generated_ids_differ_and_are_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100_000 {
            let id = SessionId::generate();
            assert_eq!(
                URL_SAFE_NO_PAD.decode(id.expose()).unwrap().len() * 8,
                SessionId::RANDOM_BITS
            );
            assert!(seen.insert(id));
        }
    }

    #[test]
    fn an_id_takes_no_more_room_than_forty_bytes() {
        assert_eq!(size_of::<SessionId>(), 40);
    }

    #[test]
    fn errors_do_not_repeat_the_input() {
        let error = SessionId::from_bytes(b"secret secret").unwrap_err();
        assert_eq!(error, InvalidSessionId::Forbidden { position: 6 });
        assert!(!error.to_string().contains("secret"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_id_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let well_formed = !bytes.is_empty()
                && bytes.len() <= SessionId::MAX_LEN
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_');
            prop_assert_eq!(SessionId::from_bytes(&bytes).is_ok(), well_formed);
        }

        #[test]
        fn a_well_formed_id_keeps_its_text_and_hides_it(text in "[A-Za-z0-9_-]{1,128}") {
            let id: SessionId = text.parse().unwrap();
            prop_assert_eq!(id.expose(), &text);
            // Short texts ("s", "4f") can be in the handle by chance; they are no secrets.
            if text.len() > 14 {
                let printed = format!("{id} {id:?} {id:#?}");
                prop_assert!(!printed.contains(&text));
            }
        }
    }
}
