//! [`Attributes`] written down: for a snapshot of a process.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Attributes;
use crate::{
    Timestamp,
    store::{Attribute, Version},
};

#[derive(Serialize, Deserialize)]
struct Saved<'a> {
    version: Version,
    /// When it was written down: expiries are judged from no earlier moment.
    now: Timestamp,
    attributes: BTreeMap<Cow<'a, str>, SavedAttribute<'a>>,
}

#[derive(Serialize, Deserialize)]
struct SavedAttribute<'a> {
    json: Cow<'a, str>,
    version: Version,
    expires_at: Option<Timestamp>,
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut attributes = BTreeMap::new();
        for (key, attribute) in self.iter() {
            let saved = SavedAttribute {
                json: Cow::Borrowed(&attribute.json),
                version: attribute.version,
                expires_at: attribute.expires_at,
            };
            attributes.insert(Cow::Borrowed(key), saved);
        }
        let saved = Saved {
            version: self.version(),
            now: self.now(),
            attributes,
        };
        saved.serialize(serializer)
    }
}

/// Without limits of their own, and as they were at the moment of writing: [`Attributes::set_now`].
impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let saved = Saved::deserialize(deserializer)?;
        let entry = |(key, saved): (Cow<'_, str>, SavedAttribute<'_>)| {
            let attribute = Attribute {
                json: Arc::from(saved.json),
                version: saved.version,
                expires_at: saved.expires_at,
            };
            (Arc::from(key), attribute)
        };
        let map = saved.attributes.into_iter().map(entry).collect();
        Ok(Self::assemble(map, saved.version, saved.now))
    }
}
