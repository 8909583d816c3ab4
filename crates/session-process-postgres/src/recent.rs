//! [`Recent`]: the attributes of records that this node wrote or read a short while ago.
//!
//! An attribute that a save leaves as it was keeps its version, so whoever writes must know what was there. If that is
//! here, the writer need not read the row before it writes it.
//!
//! # Invariants
//! 1. What is under a version here is what the database had at that version: a version is never given twice under a
//!    key. So an entry is never wrong, only of no use: the statement's `WHERE` finds out that the row has moved on.
//! 2. It is bounded by bytes. What has no place is read.

use std::{hash::RandomState, sync::Arc};

use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use session_process::store::{Attribute, Record, SessionKey, Version};

use crate::attributes::Ordered;

/// What an entry takes besides its attributes: itself, its place in the cache.
const ENTRY: usize = 160;
/// What an attribute takes besides its texts: itself, and the two heads of the texts.
const ATTRIBUTE: usize = 88;

#[derive(Debug)]
pub(crate) struct Recent(Option<Cache<SessionKey, Known, Weigh, RandomState>>);

/// The attributes of a record at a version.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) version: Version,
    /// In the order of their names.
    attributes: Arc<[(Arc<str>, Attribute)]>,
}

impl Known {
    pub(crate) fn get(&self, name: &str) -> Option<&Attribute> {
        let found = self.attributes.binary_search_by(|(other, _)| (**other).cmp(name));
        found.ok().map(|at| &self.attributes[at].1)
    }
}

#[derive(Debug, Clone)]
struct Weigh;

impl Weighter<SessionKey, Known> for Weigh {
    fn weight(&self, _: &SessionKey, known: &Known) -> u64 {
        let attributes = known.attributes.iter();
        let attributes = attributes.map(|(name, attribute)| ATTRIBUTE + name.len() + attribute.json.len());
        (ENTRY + attributes.sum::<usize>()) as u64
    }
}

impl Recent {
    /// At most so many bytes; 0: nothing is kept.
    pub(crate) fn new(bytes: usize) -> Self {
        let options = OptionsBuilder::new()
            // A session with a few attributes takes half a kilobyte.
            .estimated_items_capacity(bytes / 512)
            .weight_capacity(bytes as u64)
            .build();
        Self(
            options.ok().filter(|_| bytes > 0).map(|options| {
                Cache::with_options(options, Weigh, RandomState::default(), DefaultLifecycle::default())
            }),
        )
    }

    pub(crate) fn get(&self, key: &SessionKey) -> Option<Known> {
        self.0.as_ref()?.get(key)
    }

    /// What was read.
    pub(crate) fn read(&self, record: &Record) {
        // Without attributes there is nothing to keep; and what is known to be newer stays.
        if let Some(cache) = &self.0
            && !record.attributes.is_empty()
            && cache
                .peek(&record.key)
                .is_none_or(|known| known.version < record.version)
        {
            let attributes = record.attributes.iter();
            let attributes = attributes.map(|(name, attribute)| (Arc::clone(name), attribute.clone()));
            self.put(record.key, record.version, attributes.collect());
        }
    }

    /// What was written: attributes without a version have that of the record.
    pub(crate) fn wrote(&self, key: SessionKey, version: Version, mut attributes: Ordered) {
        for (_, attribute) in &mut attributes {
            if attribute.version.0 == 0 {
                attribute.version = version;
            }
        }
        self.put(key, version, attributes.into());
    }

    /// The record moved on from one version to another with the attributes that it had.
    pub(crate) fn moved(&self, key: SessionKey, from: Version, to: Version) {
        if let Some(cache) = &self.0
            && let Some(known) = cache.peek(&key)
        {
            if known.version == from {
                cache.insert(key, Known { version: to, ..known });
            } else {
                cache.remove(&key);
            }
        }
    }

    pub(crate) fn forget(&self, key: &SessionKey) {
        if let Some(cache) = &self.0 {
            cache.remove(key);
        }
    }

    /// Another connection may be one to another database: one that was restored, or a standby that lacks commits. There
    /// a version may be given again.
    pub(crate) fn clear(&self) {
        if let Some(cache) = &self.0 {
            cache.clear();
        }
    }

    fn put(&self, key: SessionKey, version: Version, attributes: Arc<[(Arc<str>, Attribute)]>) {
        if let Some(cache) = &self.0 {
            cache.insert(key, Known { version, attributes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(json: &str, version: u64) -> Ordered {
        let attribute = Attribute {
            json: json.into(),
            version: Version(version),
            expires_at: None,
        };
        vec![("a".into(), attribute)]
    }

    #[test]
    fn what_was_written_is_known_at_its_version() {
        let (recent, key) = (Recent::new(10_000), SessionKey::from_bytes([1; 32]));
        recent.wrote(key, Version(7), attributes("1", 0));
        let known = recent.get(&key).unwrap();
        assert_eq!(
            (known.version, known.get("a").unwrap().version),
            (Version(7), Version(7))
        );
        assert!(known.get("b").is_none());
        recent.moved(key, Version(7), Version(8));
        let known = recent.get(&key).unwrap();
        assert_eq!(
            (known.version, known.get("a").unwrap().version),
            (Version(8), Version(7))
        );
        // From a version that is not the one that is known: somebody else was in between.
        recent.moved(key, Version(9), Version(10));
        assert!(recent.get(&key).is_none());
    }

    #[test]
    fn it_takes_no_more_than_it_may() {
        let recent = Recent::new(20_000);
        for n in 0..=255 {
            recent.wrote(
                SessionKey::from_bytes([n; 32]),
                Version(1),
                attributes(&"1".repeat(500), 0),
            );
        }
        let cache = recent.0.as_ref().unwrap();
        assert!(cache.weight() <= 20_000 && cache.len() > 5, "{cache:?}");
        let nothing = Recent::new(0);
        nothing.wrote(SessionKey::from_bytes([1; 32]), Version(1), attributes("1", 0));
        assert!(nothing.get(&SessionKey::from_bytes([1; 32])).is_none());
    }
}
