//! [`KeyRing`]: the keys that cookies are signed with, if they are.
//!
//! An id alone is enough: nobody guesses 192 random bits. A signature turns made-up ids away before anything is looked
//! up, so that a flood of them costs the store nothing.
//!
//! # Invariants
//! 1. The first key signs; all of them verify. There is always one.
//! 2. A signature holds for one cookie name: it is no good in another cookie under the same key.
//! 3. Signatures are compared in constant time, by the `hmac` crate.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use session_process::{SessionId, events::RefusedId};
use sha2::Sha256;

use crate::ConfigError;

/// Between an id and its signature. No id has it.
const DOT: u8 = b'.';

/// A secret key for signatures (HMAC-SHA-256).
#[derive(Clone)]
pub struct SigningKey {
    /// The key is in it, and nowhere else.
    mac: Hmac<Sha256>,
    id: KeyId,
}

impl SigningKey {
    /// The shortest key: as long as what it makes, as RFC 2104 advises.
    pub const MIN_LEN: usize = 32;

    /// A key from at least [`MIN_LEN`](Self::MIN_LEN) random bytes, the same on every node.
    ///
    /// # Errors
    /// [`ConfigError::KeyTooShort`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() < Self::MIN_LEN {
            return Err(ConfigError::KeyTooShort { len: bytes.len() });
        }
        let mac = Hmac::<Sha256>::new_from_slice(bytes).expect("HMAC takes keys of any length");
        let tag = mac
            .clone()
            .chain_update(b"session-process/key-id\0")
            .finalize()
            .into_bytes();
        let mut id = [0; 4];
        id.copy_from_slice(&tag[..4]);
        Ok(Self { mac, id: KeyId(id) })
    }

    /// A key from the system's random source. Cookies that it signs are good while this program runs.
    ///
    /// # Panics
    /// If the system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0; Self::MIN_LEN];
        getrandom::fill(&mut bytes).expect("the operating system's random source failed");
        Self::from_bytes(&bytes).expect("it is long enough")
    }

    /// Its public name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn over(&self, name: &str, id: &[u8]) -> Hmac<Sha256> {
        let mac = self.mac.clone().chain_update(b"session-process/cookie\0");
        mac.chain_update(name).chain_update(b"\0").chain_update(id)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// A short name for a [`SigningKey`], for logs and to remove it by. It tells nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key.")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Keys of which the newest signs, and all verify: for [`SessionLayer::with_signing_keys`](crate::SessionLayer).
///
/// All clones are the same ring, and a change takes effect with the next request. On several nodes, add a new key
/// everywhere with [`add_older`](Self::add_older) first, then make it the newest.
///
/// ```
/// use session_process_axum::{KeyRing, SigningKey};
///
/// # fn f(layer: session_process_axum::SessionLayer) -> Result<(), session_process_axum::ConfigError> {
/// let first = SigningKey::generate();
/// let keys = KeyRing::new(first.clone());
/// let layer = layer.with_signing_keys(keys.clone());
///
/// // Every month:
/// keys.rotate(SigningKey::generate());       // signs from now on
/// // When all who come back have come back: a session that is used gets the new signature by itself.
/// keys.remove(first.id());                   // what it signed is refused
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<RwLock<Vec<SigningKey>>>);

impl KeyRing {
    /// A ring with one key.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Self(Arc::new(RwLock::new(vec![key])))
    }

    /// Makes this the newest key: it signs from now on, and the others verify what they have signed.
    pub fn rotate(&self, newest: SigningKey) {
        self.change(|keys| {
            keys.retain(|key| key.id != newest.id);
            keys.insert(0, newest);
        });
    }

    /// Adds a key that verifies and doesn't sign.
    pub fn add_older(&self, key: SigningKey) {
        self.change(|keys| {
            if keys.iter().all(|other| other.id != key.id) {
                keys.push(key);
            }
        });
    }

    /// Takes a key out: what it has signed is refused from now on. `false`: it isn't in the ring, or it is the only
    /// one, which stays.
    pub fn remove(&self, id: KeyId) -> bool {
        self.change(|keys| {
            let before = keys.len();
            if before > 1 {
                keys.retain(|key| key.id != id);
            }
            keys.len() < before
        })
    }

    /// The keys, the newest first.
    #[must_use]
    pub fn ids(&self) -> Vec<KeyId> {
        self.look(|keys| keys.iter().map(|key| key.id).collect())
    }

    /// The value of the cookie of this name.
    pub(crate) fn sign(&self, name: &str, id: &SessionId) -> String {
        let id = id.expose();
        let tag = self.look(|keys| keys[0].over(name, id.as_bytes()).finalize().into_bytes());
        let mut value = String::with_capacity(id.len() + 1 + 43);
        value.push_str(id);
        value.push(char::from(DOT));
        URL_SAFE_NO_PAD.encode_string(tag, &mut value);
        value
    }

    /// The id that was signed, and whether by the newest key.
    ///
    /// # Errors
    /// `Malformed`; `Forged`, also for an id without a signature.
    pub(crate) fn verify(&self, name: &str, value: &[u8]) -> Result<(SessionId, bool), RefusedId> {
        let dot = value.iter().position(|byte| *byte == DOT);
        let (id, tag) = dot.map_or((value, &[][..]), |dot| (&value[..dot], &value[dot + 1..]));
        let id = SessionId::from_bytes(id).map_err(|_| RefusedId::Malformed)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| RefusedId::Forged)?;
        let signer = self.look(|keys| {
            let verifies = |key: &SigningKey| key.over(name, id.expose().as_bytes()).verify_slice(&tag).is_ok();
            keys.iter().position(verifies)
        });
        signer.map(|nth| (id, nth == 0)).ok_or(RefusedId::Forged)
    }

    fn look<T>(&self, look: impl FnOnce(&[SigningKey]) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<SigningKey>) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring() -> KeyRing {
        KeyRing::new(SigningKey::from_bytes(&[7; 32]).unwrap())
    }

    fn id() -> SessionId {
        "0123456789abcdef".parse().unwrap()
    }

    #[test]
    fn what_is_signed_is_read() {
        let value = ring().sign("__Host-id", &id());
        assert_eq!(value.len(), 16 + 1 + 43);
        assert_eq!(ring().verify("__Host-id", value.as_bytes()), Ok((id(), true)));
    }

    #[test]
    fn a_signature_is_good_for_one_name_one_id_and_one_key() {
        let value = ring().sign("__Host-id", &id());
        assert_eq!(ring().verify("__Host-other", value.as_bytes()), Err(RefusedId::Forged));
        let other = KeyRing::new(SigningKey::generate());
        assert_eq!(other.verify("__Host-id", value.as_bytes()), Err(RefusedId::Forged));
        let moved = value.replacen('0', "1", 1);
        assert_eq!(ring().verify("__Host-id", moved.as_bytes()), Err(RefusedId::Forged));
    }

    #[test]
    fn every_bit_of_a_signature_counts() {
        let value = ring().sign("id", &id());
        let (text, tag) = value.split_once('.').unwrap();
        let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
        for bit in 0..tag.len() * 8 {
            let mut tag = tag.clone();
            tag[bit / 8] ^= 1 << (bit % 8);
            let value = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(ring().verify("id", value.as_bytes()), Err(RefusedId::Forged));
        }
        for end in 0..value.len() {
            assert!(ring().verify("id", &value.as_bytes()[..end]).is_err());
        }
    }

    #[test]
    fn the_newest_signs_all_verify_and_a_removed_one_is_refused() {
        let (first, second) = (SigningKey::generate(), SigningKey::generate());
        let keys = KeyRing::new(first.clone());
        let old = keys.sign("id", &id());
        keys.rotate(second.clone());
        let new = keys.sign("id", &id());
        assert_eq!(keys.verify("id", old.as_bytes()), Ok((id(), false)));
        assert_eq!(keys.verify("id", new.as_bytes()), Ok((id(), true)));
        assert!(keys.remove(first.id()));
        assert_eq!(keys.verify("id", old.as_bytes()), Err(RefusedId::Forged));
        assert!(!keys.remove(second.id()), "the last one stays");
        assert_eq!(keys.ids(), [second.id()]);
    }

    #[test]
    fn a_key_is_long_and_shows_nothing_of_itself() {
        assert_eq!(
            SigningKey::from_bytes(&[0; 31]).unwrap_err(),
            ConfigError::KeyTooShort { len: 31 }
        );
        let shown = format!(
            "{:?}",
            KeyRing::new(SigningKey::from_bytes(b"a key of thirty-two bytes or so.").unwrap())
        );
        assert!(shown.starts_with("KeyRing([key.") && shown.len() < 32, "{shown}");
    }

    proptest! {
        #[test]
        fn nothing_made_up_is_verified(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(ring().verify("id", &value).is_err());
        }
    }
}
