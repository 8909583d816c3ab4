//! [`LockStore`]: leases on names, for all who share a store; and the [`Fence`] that a change can require.

use std::{fmt, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use super::{BoxFuture, SessionKey, StoreError};
use crate::SessionId;

/// Gives out leases on names. [`Locks`](crate::locks::Locks) makes locks of them.
///
/// # What an implementation guarantees
/// 1. **One holder.** A lock is held by one [`Holder`] at a time, until it gives it up or its lease is over: by the
///    store's clock, as it is when the change takes place.
/// 2. **A token for each holder.** Every new holder gets a [`Token`] greater than any that was given for this lock
///    before, also after the lock was not used for a long time.
/// 3. **Fences hold.** A change whose [`Edit::fence`](super::Edit::fence) names a token that is not the lock's newest
///    is refused with [`Conflict::Fence`](super::Conflict::Fence), and a new holder gets the lock only when all changes
///    under the token before it are in the store or refused for good. A lock that was given up has a newer token too.
pub trait LockStore: Send + Sync + 'static {
    /// Takes the lock for so long, if it is free. Who holds it already keeps their token, and the lease begins anew.
    ///
    /// # Errors
    /// [`StoreError`]: it is open whether it was taken.
    ///
    /// # Cancel safety
    /// It may be taken.
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        holder: Holder,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Acquired, StoreError>>;

    /// Begins the lease anew. `false`: it was over, or this is not the holder. Nothing was changed then.
    ///
    /// # Errors
    /// [`StoreError`]: it is open whether it was renewed.
    ///
    /// # Cancel safety
    /// It may be renewed.
    fn renew(&self, key: LockKey, holder: Holder, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Gives the lock up. `false`: the lease was over, or this is not the holder.
    ///
    /// # Errors
    /// [`StoreError`]: it is open whether it was given up.
    ///
    /// # Cancel safety
    /// It may be given up.
    fn release(&self, key: LockKey, holder: Holder) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Ends when the lock was given up since this was called. A hint: it may come late, for nothing, or never, and says
    /// nothing of a lease that is over.
    ///
    /// # Cancel safety
    /// Safe.
    fn freed(&self, key: LockKey) -> BoxFuture<'_, ()>;
}

/// What came of [`LockStore::acquire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acquired {
    /// It is held, with this token.
    Held(Token),
    /// Somebody else holds it, for so long if they don't renew it.
    Busy {
        /// What is left of their lease.
        remaining: Duration,
    },
}

/// What a lock is on: a name in the whole application, or one of a session.
///
/// ```
/// use session_process::{SessionId, store::LockName};
///
/// let nightly = LockName::new("nightly report");
/// let checkout = LockName::of_session(&SessionId::generate(), "checkout");
/// assert_ne!(LockName::new("checkout").key(), checkout.key());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockName {
    key: LockKey,
    label: Arc<str>,
}

impl LockName {
    /// The longest [`label`](Self::label), in bytes.
    const LABEL: usize = 255;

    /// A name in the whole application. Any text.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::hashed(0, &[], name, name)
    }

    /// A name of one session. Any text. After the session's id was changed it is another lock.
    #[must_use]
    pub fn of_session(id: &SessionId, name: &str) -> Self {
        let key = SessionKey::of(id);
        Self::hashed(1, key.as_bytes(), name, &format!("{key:?} {name}"))
    }

    fn hashed(kind: u8, of: &[u8], name: &str, label: &str) -> Self {
        let mut hash = Sha256::new_with_prefix(b"session-process lock");
        // What is before the name is of one length for each kind.
        hash.update([kind]);
        hash.update(of);
        hash.update(name);
        let mut end = label.len().min(Self::LABEL);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            key: LockKey(hash.finalize().into()),
            // PostgreSQL keeps no NUL.
            label: label[..end].replace('\0', "\u{FFFD}").into(),
        }
    }

    /// What a store keeps it under.
    #[must_use]
    pub fn key(&self) -> LockKey {
        self.key
    }

    /// For people: the beginning of the name, after the session's key in short if it is a session's.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }
}

/// A name in the whole application.
impl From<&str> for LockName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<&LockName> for LockName {
    fn from(name: &LockName) -> Self {
        name.clone()
    }
}

/// What a store keeps a lock under: a hash of its [`LockName`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey([u8; 32]);

impl LockKey {
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

/// Its first six bytes: enough to find a row by.
impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("l.")?;
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Who holds a lock: random, so that nobody is taken for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder([u8; 16]);

impl Holder {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| StoreError::failed("name a lock's holder", error.to_string()))?;
        Ok(Self(bytes))
    }

    /// As a store writes it down.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The fencing token of a lock: it grows with each holder, so whoever is told of several knows which is newest. Below
/// 2⁶³.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A change is made under a lock: it takes effect only while no newer token of it was given out. See
/// [`Edit::fence`](super::Edit::fence).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Which lock.
    pub lock: LockKey,
    /// The token with which it was taken.
    pub token: Token,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_session_says_nothing_of_its_id_and_is_no_other() {
        let id = SessionId::generate();
        let name = LockName::of_session(&id, "a\0b");
        assert!(!format!("{name:?}").contains(id.expose()));
        assert!(!name.label().contains('\0'));
        assert_ne!(name.key(), LockName::of_session(&id, "a").key());
        assert_ne!(name.key(), LockName::of_session(&SessionId::generate(), "a\0b").key());
    }

    #[test]
    fn a_long_name_has_a_short_label_and_a_key_of_its_own() {
        let (one, other) = ("é".repeat(200), format!("{}!", "é".repeat(200)));
        assert_eq!(LockName::new(&one).label(), "é".repeat(127));
        assert_ne!(LockName::new(&one).key(), LockName::new(&other).key());
    }
}
