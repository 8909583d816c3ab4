//! [`Attributes`]: the named values of one session, at one moment.
//!
//! # Invariants
//! 1. What has expired by `now` is returned by no function; `now` never goes back.
//! 2. `next_expiry` is no later than the earliest expiry in the map.
//! 3. Within `all_or_nothing`, the journal holds what every key that was changed was before.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{AttributeError, Limits, json};
use crate::{
    Timestamp,
    store::{Attribute, AttributeMap, Version},
};

/// Named values of a session, each typed through serde, with a version and perhaps an expiry.
///
/// Holds the moment at which it is read ([`now`](Self::now)), so that one look at it sees one time. Its verbs are those
/// of Rust's maps. See [the module](super) for an example.
///
/// Every change makes [`version`](Self::version) greater by one and is that attribute's version from then on. (A
/// [`SessionStore`](crate::store::SessionStore) sets versions of its own when it writes attributes down.)
#[derive(Clone)]
pub struct Attributes {
    map: AttributeMap,
    version: Version,
    now: Timestamp,
    /// Nothing expires before it.
    next_expiry: Timestamp,
    /// `None`: the default ones, or those of the engine that it comes to.
    limits: Option<Limits>,
    journal: Vec<(Arc<str>, Option<Attribute>)>,
    /// How many `all_or_nothing` are under way.
    depth: u32,
}

impl Attributes {
    /// No attributes yet, with the default [`Limits`].
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self::from_map(AttributeMap::new(), now)
    }

    /// Those of a record, as they are at `now`.
    #[must_use]
    pub fn from_map(map: AttributeMap, now: Timestamp) -> Self {
        let version = map.values().map(|attribute| attribute.version).max();
        Self::assemble(map, version.unwrap_or_default(), now)
    }

    pub(super) fn assemble(map: AttributeMap, version: Version, now: Timestamp) -> Self {
        let mut this = Self {
            map,
            version,
            now,
            next_expiry: Timestamp::default(),
            limits: None,
            journal: Vec::new(),
            depth: 0,
        };
        this.drop_expired();
        this
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Takes on the limits that `find` finds, unless it has any.
    pub(super) fn limit(&mut self, find: impl FnOnce() -> Limits) {
        self.limits.get_or_insert_with(find);
    }

    /// For a record. What has expired is not in it.
    #[must_use]
    pub fn into_map(self) -> AttributeMap {
        self.map
    }

    /// The limits on what is set.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.unwrap_or_default()
    }

    /// The moment at which this is looked at.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Looks at it at a later moment. An earlier one changes nothing: what has expired stays so, also if the system's
    /// clock is set back.
    pub fn set_now(&mut self, now: Timestamp) {
        if now > self.now {
            self.now = now;
            if now >= self.next_expiry {
                self.drop_expired();
            }
        }
    }

    fn drop_expired(&mut self) {
        let now = self.now;
        self.map.retain(|_, attribute| !attribute.is_expired(now));
        let expiries = self.map.values().filter_map(|attribute| attribute.expires_at);
        self.next_expiry = expiries.min().unwrap_or(Timestamp::MAX);
    }

    /// Grows with every change.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether there is one of this name.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A value; `None` if it is absent or has expired.
    ///
    /// # Errors
    /// [`WrongType`](AttributeError::WrongType) if it is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AttributeError> {
        let attribute = self.map.get(key);
        attribute.map(|attribute| json::read(key, &attribute.json)).transpose()
    }

    /// A value as it is kept: its JSON text, version and expiry.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Attribute> {
        self.map.get(key)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Attribute)> {
        self.map.iter().map(|(key, attribute)| (&**key, attribute))
    }

    /// All of them as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let value = |json: &str| serde_json::from_str(json).unwrap_or_default();
        let entry = |(key, attribute): (&str, &Attribute)| (key.to_owned(), value(&attribute.json));
        self.iter().map(entry).collect()
    }

    /// Sets a value, for as long as the session lives.
    ///
    /// # Errors
    /// [`AttributeError`]: a limit, or a value that can't be written as JSON.
    pub fn insert<T: Serialize>(&mut self, key: &str, value: T) -> Result<(), AttributeError> {
        self.put(key, &value, None)
    }

    /// Sets a value that is absent again `after` some time.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_expiring<T: Serialize>(
        &mut self,
        key: &str,
        value: T,
        after: Duration,
    ) -> Result<(), AttributeError> {
        self.put(key, &value, Some(self.now.saturating_add(after)))
    }

    /// Changes a value in place; one that is absent begins as its default. Its expiry stays as it was. Returns what
    /// `change` returns.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`insert`](Self::insert).
    pub fn update<T, R>(&mut self, key: &str, change: impl FnOnce(&mut T) -> R) -> Result<R, AttributeError>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let mut value = self.get::<T>(key)?.unwrap_or_default();
        let expires_at = self.map.get(key).and_then(|attribute| attribute.expires_at);
        let result = change(&mut value);
        self.put(key, &value, expires_at)?;
        Ok(result)
    }

    /// Changes a value in place, if it is there. Returns what `change` returns; `None` if it is absent.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_existing<T, R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<Option<R>, AttributeError>
    where
        T: Serialize + DeserializeOwned,
    {
        let Some(mut value) = self.get::<T>(key)? else {
            return Ok(None);
        };
        let expires_at = self.map.get(key).and_then(|attribute| attribute.expires_at);
        let result = change(&mut value);
        self.put(key, &value, expires_at)?;
        Ok(Some(result))
    }

    /// Gives a value another time to expire, counted from now; `None`: none. Returns whether it is there.
    pub fn expire(&mut self, key: &str, after: Option<Duration>) -> bool {
        let Some((key, attribute)) = self.map.get_key_value(key) else {
            return false;
        };
        let (key, json) = (Arc::clone(key), Arc::clone(&attribute.json));
        self.set(key, json, after.map(|after| self.now.saturating_add(after)));
        true
    }

    /// Takes a value out.
    ///
    /// # Errors
    /// [`WrongType`](AttributeError::WrongType) if it is of another type; then it stays.
    /// [`discard`](Self::discard) takes out any.
    pub fn remove<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, AttributeError> {
        let value = self.get(key)?;
        self.discard(key);
        Ok(value)
    }

    /// Takes a value out, whatever its type. Returns whether it was there.
    pub fn discard(&mut self, key: &str) -> bool {
        let Some((key, attribute)) = self.map.remove_entry(key) else {
            return false;
        };
        self.version.0 += 1;
        self.note(key, Some(attribute));
        true
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        if self.map.is_empty() {
            return;
        }
        self.version.0 += 1;
        for (key, attribute) in std::mem::take(&mut self.map) {
            self.note(key, Some(attribute));
        }
        self.next_expiry = Timestamp::MAX;
    }

    /// Makes sure that a value was not set or removed since its version was read (`None`: that it is still absent).
    ///
    /// # Errors
    /// [`Changed`](AttributeError::Changed) if it was.
    pub fn expect_version(&self, key: &str, version: Option<Version>) -> Result<(), AttributeError> {
        let found = self.map.get(key).map(|attribute| attribute.version);
        if found == version {
            return Ok(());
        }
        Err(AttributeError::Changed {
            key: Arc::from(key),
            version: found,
        })
    }

    /// Several changes as one: if `change` returns an error or panics, all of them are undone. (A panic goes on.)
    ///
    /// # Errors
    /// That of `change`.
    pub fn all_or_nothing<R, E>(&mut self, change: impl FnOnce(&mut Self) -> Result<R, E>) -> Result<R, E> {
        let (mark, version, depth) = (self.journal.len(), self.version, self.depth);
        self.depth += 1;
        let result = catch_unwind(AssertUnwindSafe(|| change(self)));
        self.depth = depth;
        if !matches!(result, Ok(Ok(_))) {
            for (key, before) in self.journal.drain(mark..).rev() {
                match before {
                    Some(attribute) => self.map.insert(key, attribute),
                    None => self.map.remove(&key),
                };
            }
            self.version = version;
            self.drop_expired();
        }
        if depth == 0 {
            self.journal = Vec::new();
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn put<T: Serialize>(&mut self, key: &str, value: &T, expires_at: Option<Timestamp>) -> Result<(), AttributeError> {
        let known = self.map.get_key_value(key).map(|(key, _)| Arc::clone(key));
        let is_new = known.is_none();
        let key = match known {
            Some(key) => key,
            None => self.checked(key)?,
        };
        if is_new && self.map.len() >= self.limits().max_count {
            let max = self.limits().max_count;
            return Err(AttributeError::TooMany { key, max });
        }
        let json = json::write(&key, value, self.limits().max_value_len)?;
        self.set(key, json, expires_at);
        Ok(())
    }

    fn checked(&self, key: &str) -> Result<Arc<str>, AttributeError> {
        let max = self.limits().max_key_len;
        if key.len() > max {
            return Err(AttributeError::KeyTooLong { len: key.len(), max });
        }
        if key.is_empty() || key.chars().any(char::is_control) {
            return Err(AttributeError::InvalidKey);
        }
        Ok(Arc::from(key))
    }

    fn set(&mut self, key: Arc<str>, json: Arc<str>, expires_at: Option<Timestamp>) {
        self.version.0 += 1;
        let attribute = Attribute {
            json,
            version: self.version,
            expires_at,
        };
        let gone_already = attribute.is_expired(self.now);
        self.next_expiry = self.next_expiry.min(expires_at.unwrap_or(Timestamp::MAX));
        let before = self.map.insert(Arc::clone(&key), attribute);
        self.note(key, before);
        if gone_already {
            self.drop_expired();
        }
    }

    fn note(&mut self, key: Arc<str>, before: Option<Attribute>) {
        if self.depth > 0 {
            self.journal.push((key, before));
        }
    }
}

/// Names, not values.
impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attributes")
            .field("map", &self.map)
            .field("version", &self.version)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn what_has_expired_is_absent_everywhere_and_stays_so() {
        let mut attributes = Attributes::new(at(100));
        attributes.insert("stays", 1).unwrap();
        attributes.insert_expiring("goes", 2, SECOND).unwrap();
        attributes.insert_expiring("never_was", 3, Duration::ZERO).unwrap();
        assert_eq!(attributes.len(), 2);
        attributes.set_now(at(101));
        // Set back by an administrator.
        attributes.set_now(at(50));
        assert_eq!(attributes.get::<i32>("goes").unwrap(), None);
        assert_eq!(attributes.remove::<i32>("goes").unwrap(), None);
        assert_eq!(attributes.update_existing("goes", |n: &mut i32| *n += 1).unwrap(), None);
        assert!(!attributes.contains_key("goes") && attributes.attribute("goes").is_none());
        assert!(!attributes.expire("goes", None) && !attributes.discard("goes"));
        let names: Vec<_> = attributes.iter().map(|(key, _)| key).collect();
        assert_eq!(names, ["stays"]);
        assert_eq!(attributes.to_json().len(), 1);
        assert_eq!(attributes.clone().into_map().len(), 1);
        let text = serde_json::to_string(&attributes).unwrap();
        assert!(!text.contains("goes"));
    }

    #[test]
    fn an_update_keeps_the_expiry_and_an_insert_does_not() {
        let mut attributes = Attributes::new(at(0));
        attributes.insert_expiring("a", 1, SECOND).unwrap();
        attributes.insert_expiring("b", 1, SECOND).unwrap();
        attributes.update("a", |n: &mut i32| *n += 1).unwrap();
        attributes.insert("b", 2).unwrap();
        attributes.set_now(at(1));
        assert_eq!(attributes.get::<i32>("a").unwrap(), None);
        assert_eq!(attributes.get::<i32>("b").unwrap(), Some(2));
    }

    #[test]
    fn every_change_has_a_version_and_one_that_was_undone_has_none() {
        let mut attributes = Attributes::new(at(0));
        attributes.insert("a", 1).unwrap();
        attributes.insert("b", 1).unwrap();
        let version = attributes.attribute("a").map(|a| a.version);
        attributes.expect_version("a", version).unwrap();
        let outcome: Result<(), AttributeError> = attributes.all_or_nothing(|attributes| {
            attributes.insert("a", 9)?;
            attributes.discard("b");
            attributes.insert("c", 9)?;
            attributes.clear();
            attributes.insert_expiring("a", 7, Duration::ZERO)?;
            attributes.get::<String>("c")?;
            Err(AttributeError::refuse("no"))
        });
        outcome.unwrap_err();
        attributes.expect_version("a", version).unwrap();
        attributes.expect_version("c", None).unwrap();
        assert_eq!(attributes.version(), Version(2));
        assert_eq!(attributes.get::<i32>("b").unwrap(), Some(1));
        // Gone and back: not the version that it had.
        attributes.discard("a");
        attributes.insert("a", 1).unwrap();
        assert!(matches!(
            attributes.expect_version("a", version),
            Err(AttributeError::Changed {
                version: Some(Version(4)),
                ..
            })
        ));
    }

    #[test]
    fn an_inner_failure_undoes_the_inner_part_alone() {
        let mut attributes = Attributes::new(at(0));
        attributes
            .all_or_nothing(|attributes| {
                attributes.insert("outer", 1)?;
                let inner: Result<(), _> = attributes.all_or_nothing(|attributes| {
                    attributes.insert("outer", 2)?;
                    Err(AttributeError::refuse("no"))
                });
                inner.unwrap_err();
                Ok::<_, AttributeError>(())
            })
            .unwrap();
        assert_eq!(attributes.get::<i32>("outer").unwrap(), Some(1));
    }

    #[test]
    fn a_panic_undoes_and_goes_on() {
        let mut attributes = Attributes::new(at(0));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            attributes.all_or_nothing(|attributes| -> Result<(), AttributeError> {
                attributes.insert("a", 1)?;
                panic!("as told")
            })
        }));
        assert!(panicked.is_err() && attributes.is_empty());
    }

    #[test]
    fn a_wrong_type_names_key_and_type_but_no_value_and_changes_nothing() {
        let mut attributes = Attributes::new(at(0));
        attributes.insert("pin", "4711-secret").unwrap();
        for error in [
            attributes.get::<u32>("pin").unwrap_err(),
            attributes.remove::<u32>("pin").unwrap_err(),
            attributes.update("pin", |n: &mut u32| *n += 1).unwrap_err(),
        ] {
            let text = format!("{error} {error:?}");
            assert!(
                text.contains("`pin`") && text.contains("u32") && !text.contains("secret"),
                "{text}"
            );
        }
        assert_eq!(attributes.get::<String>("pin").unwrap().unwrap(), "4711-secret");
        assert_eq!(attributes.version(), Version(1));
        assert!(!format!("{attributes:?}").contains("secret"));
    }

    #[test]
    fn limits_hold_for_what_is_set() {
        let limits = Limits::new().max_key_len(4).max_value_len(6).max_count(2);
        let mut attributes = Attributes::new(at(0)).with_limits(limits);
        let kind = |result: Result<(), AttributeError>| result.unwrap_err().kind();
        assert_eq!(kind(attributes.insert("", 1)), "invalid_key");
        assert_eq!(kind(attributes.insert("a\0", 1)), "invalid_key");
        assert_eq!(kind(attributes.insert("abcde", 1)), "key_too_long");
        assert_eq!(kind(attributes.insert("a", "12345")), "value_too_long");
        assert_eq!(
            kind(attributes.insert("a", std::collections::HashMap::from([((1, 2), 3)]))),
            "unserializable"
        );
        attributes.insert("a", "1234").unwrap();
        attributes.insert_expiring("b", 1, SECOND).unwrap();
        assert_eq!(kind(attributes.insert("c", 1)), "too_many");
        attributes.insert("a", 2).unwrap();
        attributes.set_now(at(1));
        attributes.insert("c", 1).unwrap();
    }

    #[test]
    fn what_is_written_down_comes_back_as_it_was() {
        let mut attributes = Attributes::new(at(5));
        attributes.insert("a", "ä").unwrap();
        attributes.insert_expiring("b", [1, 2], SECOND).unwrap();
        attributes.discard("a");
        let text = serde_json::to_string(&attributes).unwrap();
        let mut again: Attributes = serde_json::from_str(&text).unwrap();
        assert_eq!(again.version(), attributes.version());
        assert_eq!(again.get::<[u8; 2]>("b").unwrap(), Some([1, 2]));
        again.set_now(at(6));
        assert!(again.is_empty());
        assert_eq!(Attributes::from_map(attributes.into_map(), at(6)).len(), 0);
    }
}
