//! The cookie: how it is named and written.
//!
//! A [`Cookie`] that exists is one that browsers keep: what contradicts itself was refused when it was set. Its value
//! is in no `Debug`. How it is found in a request is in [`crate::presented`].

use std::{borrow::Cow, fmt::Write, time::Duration};

use http::HeaderValue;
use session_process::{SessionId, events::RefusedId};

use crate::KeyRing;

/// Names that begin like this promise something about the cookie, which browsers check (RFC 6265bis, section 4.1.3,
/// and its later drafts for the two with `Http`).
const PREFIXES: [&str; 4] = ["__Host-Http-", "__Host-", "__Http-", "__Secure-"];

/// Browsers keep a name and a value of this many bytes together (RFC 6265bis, section 5.7).
const MAX_NAME_AND_VALUE: usize = 4096;

/// The longest value: an id, a dot and a signature (32 bytes in base64).
const MAX_VALUE: usize = SessionId::MAX_LEN + 1 + 43;

/// Browsers shorten what is longer (RFC 6265bis, section 5.5).
const MAX_MAX_AGE: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Whether the browser sends the cookie with requests that other sites cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SameSite {
    /// Never. Who follows a link from elsewhere arrives without a session.
    Strict,
    /// Only when the user follows a link here. The default.
    #[default]
    Lax,
    /// Always. Any site can then send requests in the name of the user; every unsafe request needs a protection of
    /// its own.
    None,
}

impl SameSite {
    fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// Why an option of the cookie was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name that is no token of RFC 9110, section 5.6.2.
    #[error("cookie name {name:?} is not a token: use letters, digits and !#$%&'*+-.^_`|~")]
    Name {
        /// The name.
        name: String,
    },
    /// The name leaves no room for the id.
    #[error("cookie name has {len} bytes, more than the {max} allowed")]
    NameTooLong {
        /// Its length.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// A prefix such as `__host-`, which some browsers take for `__Host-` and others for nothing.
    #[error("cookie name {name:?} begins with a variant of the prefix {prefix:?}; write it exactly so")]
    PrefixCase {
        /// The name.
        name: String,
        /// What it should begin with.
        prefix: &'static str,
    },
    /// A prefix that browsers accept only with `Secure`, on a cookie without it.
    #[error("browsers drop a cookie named {name:?} without `Secure`; choose a name without prefix for plain http")]
    PrefixWithoutSecure {
        /// The name.
        name: String,
    },
    /// `SameSite=None` on a cookie without `Secure`.
    #[error("browsers drop a cookie with `SameSite=None` and without `Secure`")]
    SameSiteNoneWithoutSecure,
    /// A `Max-Age` of nothing, which removes the cookie.
    #[error("a `Max-Age` below one second removes the cookie; use `None` for a cookie that ends with the browser")]
    MaxAgeTooShort,
    /// A `Max-Age` that browsers don't honour.
    #[error("browsers keep no cookie for longer than 400 days")]
    MaxAgeTooLong,
    /// A key for signatures that could be guessed.
    #[error("a signing key has at least {} random bytes, not {len}", crate::SigningKey::MIN_LEN)]
    KeyTooShort {
        /// How many it has.
        len: usize,
    },
    /// What is not an origin as browsers write it, and so never the same as one.
    #[error("{origin:?} is no origin: write it as `https://host` or `https://host:port`, in lower case")]
    Origin {
        /// The text.
        origin: String,
    },
    /// An old id that would still be good when its successor is old.
    #[error("an id is renewed every {every:?}, which is to be more than twice the overlap of {overlap:?}")]
    RenewalTooOften {
        /// How old an id becomes.
        every: Duration,
        /// For how long an old one is still good.
        overlap: Duration,
    },
}

/// Name and attributes of the session cookie.
#[derive(Debug, Clone)]
pub(crate) struct Cookie {
    /// `None`: the default, which depends on `secure`.
    name: Option<Cow<'static, str>>,
    secure: bool,
    same_site: SameSite,
    max_age: Option<Duration>,
    /// `None`: the id is not signed.
    keys: Option<KeyRing>,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: None,
            secure: true,
            same_site: SameSite::default(),
            max_age: None,
            keys: None,
        }
    }
}

impl Cookie {
    /// Says nothing of what is behind it: a framework's own name would tell an attacker what to look up.
    pub(crate) fn name(&self) -> &str {
        match &self.name {
            Some(name) => name,
            None if self.secure => "__Host-id",
            None => "id",
        }
    }

    pub(crate) fn with_name(mut self, name: Cow<'static, str>) -> Result<Self, ConfigError> {
        self.name = Some(name);
        self.checked()
    }

    pub(crate) fn with_same_site(mut self, same_site: SameSite) -> Result<Self, ConfigError> {
        self.same_site = same_site;
        self.checked()
    }

    pub(crate) fn with_max_age(mut self, max_age: Option<Duration>) -> Result<Self, ConfigError> {
        self.max_age = max_age;
        self.checked()
    }

    pub(crate) fn with_keys(mut self, keys: KeyRing) -> Self {
        self.keys = Some(keys);
        self
    }

    pub(crate) fn insecure(mut self) -> Result<Self, ConfigError> {
        self.secure = false;
        self.checked()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        const MAX_NAME: usize = MAX_NAME_AND_VALUE - MAX_VALUE;
        let name = self.name();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(ConfigError::Name { name: name.to_owned() });
        }
        if name.len() > MAX_NAME {
            return Err(ConfigError::NameTooLong {
                len: name.len(),
                max: MAX_NAME,
            });
        }
        if let Some(prefix) = prefix_of(name) {
            let name = name.to_owned();
            if !name.starts_with(prefix) {
                return Err(ConfigError::PrefixCase { name, prefix });
            }
            if !self.secure {
                return Err(ConfigError::PrefixWithoutSecure { name });
            }
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err(ConfigError::SameSiteNoneWithoutSecure);
        }
        match self.max_age {
            Some(max_age) if max_age < Duration::from_secs(1) => Err(ConfigError::MaxAgeTooShort),
            Some(max_age) if max_age > MAX_MAX_AGE => Err(ConfigError::MaxAgeTooLong),
            _ => Ok(self),
        }
    }

    /// The `Set-Cookie` that gives the browser this id.
    pub(crate) fn set(&self, id: &SessionId) -> HeaderValue {
        match &self.keys {
            None => self.write(id.expose(), self.max_age),
            Some(keys) => self.write(&keys.sign(self.name(), id), self.max_age),
        }
    }

    /// The id in a value that [`set`](Self::set) has written, and whether it would write it the same today: not so
    /// after a change of keys.
    pub(crate) fn open(&self, value: &[u8]) -> Result<(SessionId, bool), RefusedId> {
        match &self.keys {
            Some(keys) => keys.verify(self.name(), value),
            None => match SessionId::from_bytes(value) {
                Ok(id) => Ok((id, true)),
                Err(_) => Err(RefusedId::Malformed),
            },
        }
    }

    /// The `Set-Cookie` that takes it away. Browsers only drop a cookie for one of the same name, path and `Secure`.
    pub(crate) fn remove(&self) -> HeaderValue {
        self.write("", Some(Duration::ZERO))
    }

    fn write(&self, value: &str, max_age: Option<Duration>) -> HeaderValue {
        let mut text = format!("{}={value}; Path=/", self.name());
        if self.secure {
            text.push_str("; Secure");
        }
        text.push_str("; HttpOnly; SameSite=");
        text.push_str(self.same_site.as_str());
        if let Some(max_age) = max_age {
            write!(text, "; Max-Age={}", max_age.as_secs()).expect("a String takes all");
        }
        let mut value = HeaderValue::try_from(text).expect("a token, an id and our own words are visible ASCII");
        value.set_sensitive(true);
        value
    }
}

/// The prefix with which a name begins, in whatever case.
pub(crate) fn prefix_of(name: &str) -> Option<&'static str> {
    PREFIXES.into_iter().find(|prefix| {
        let begin = name.as_bytes().get(..prefix.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{SigningKey, presented};

    fn id() -> SessionId {
        "0123456789abcdef".parse().unwrap()
    }

    #[test]
    fn the_default_has_every_protection_and_ends_with_the_browser() {
        assert_eq!(
            Cookie::default().set(&id()),
            "__Host-id=0123456789abcdef; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn removal_repeats_name_path_and_secure() {
        assert_eq!(
            Cookie::default().remove(),
            "__Host-id=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
        );
    }

    #[test]
    fn plain_http_has_a_plain_name() {
        let cookie = Cookie::default().insecure().unwrap();
        assert_eq!(cookie.set(&id()), "id=0123456789abcdef; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(cookie.remove(), "id=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    }

    #[test]
    fn a_header_does_not_show_its_value() {
        assert!(Cookie::default().set(&id()).is_sensitive());
    }

    #[test]
    fn contradictions_are_refused() {
        let named = |name: &'static str| Cookie::default().with_name(name.into());
        let insecure = || Cookie::default().insecure().unwrap();

        for name in ["", "a b", "a=b", "a;b", "é", "a\r\nb", "\"a\""] {
            assert_eq!(named(name).unwrap_err(), ConfigError::Name { name: name.into() });
        }
        for name in ["__host-id", "__HOST-id", "__secure-id", "__host-http-id", "__HTTP-id"] {
            assert!(
                matches!(named(name).unwrap_err(), ConfigError::PrefixCase { .. }),
                "{name}"
            );
        }
        assert!(Cookie::default().with_name("x".repeat(4000).into()).is_err());
        for name in ["__Host-id", "__Secure-id"] {
            let expected = ConfigError::PrefixWithoutSecure { name: name.into() };
            assert_eq!(named(name).unwrap().insecure().unwrap_err(), expected);
            assert_eq!(insecure().with_name(name.into()).unwrap_err(), expected);
        }
        let none = ConfigError::SameSiteNoneWithoutSecure;
        assert_eq!(insecure().with_same_site(SameSite::None).unwrap_err(), none);
        let cross_site = Cookie::default().with_same_site(SameSite::None).unwrap();
        assert_eq!(cross_site.insecure().unwrap_err(), none);
    }

    #[test]
    fn max_age_is_between_a_second_and_400_days() {
        let with = |seconds| Cookie::default().with_max_age(Some(Duration::from_secs(seconds)));
        assert_eq!(with(0).unwrap_err(), ConfigError::MaxAgeTooShort);
        assert_eq!(with(34_560_001).unwrap_err(), ConfigError::MaxAgeTooLong);
        let value = with(34_560_000).unwrap().set(&id());
        assert!(value.to_str().unwrap().ends_with("; Max-Age=34560000"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_within_what_browsers_keep(
            name in "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}",
            value in "[A-Za-z0-9_-]{1,128}",
            days in 1..=400u64,
            signed: bool,
        ) {
            let Ok(mut cookie) = Cookie::default().with_name(name.into()) else { return Ok(()) };
            if signed {
                cookie = cookie.with_keys(KeyRing::new(SigningKey::generate()));
            }
            let cookie = cookie.with_max_age(Some(Duration::from_secs(days * 86_400))).unwrap();
            let id: SessionId = value.parse().unwrap();
            let header = cookie.set(&id);
            let (pair, attributes) = header.to_str().unwrap().split_once("; ").unwrap();
            prop_assert!(pair.len() <= MAX_NAME_AND_VALUE && attributes.len() <= 1024);
            let sent = HeaderValue::from_str(pair).unwrap();
            prop_assert_eq!(presented::read(&cookie, [&sent]).map_err(|refused| refused.reason), Ok(Some((id, true))));
        }
    }
}
