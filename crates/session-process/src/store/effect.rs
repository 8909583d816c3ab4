//! What an operation makes of a record: the same for every store.

use super::{AttributeMap, Create, Edit, Record, SessionKey, Version};
use crate::Timestamp;

impl Create {
    /// The record that this makes. For stores.
    #[must_use]
    pub fn into_record(self, key: SessionKey, version: Version, now: Timestamp) -> Record {
        let mut record = Record::new(key, version, now, self.lifetime);
        record.user_id = self.user_id;
        record.group_id = self.group_id;
        record.label = self.label;
        record.snapshot = self.snapshot;
        record.attributes = stamped(&AttributeMap::new(), self.attributes, version, now);
        record
    }
}

impl Edit {
    /// Changes the record, which has `version` then. Attributes that have expired by `now` are left out. For stores.
    pub fn apply(self, record: &mut Record, version: Version, now: Timestamp) {
        let before = std::mem::take(&mut record.attributes);
        record.attributes = match self.attributes {
            Some(new) => stamped(&before, new, version, now),
            None => {
                let mut kept = before;
                kept.retain(|_, attribute| !attribute.is_expired(now));
                kept
            }
        };
        record.version = version;
        assign(&mut record.user_id, self.user_id);
        assign(&mut record.group_id, self.group_id);
        assign(&mut record.label, self.label);
        assign(&mut record.lifetime, self.lifetime);
        assign(&mut record.snapshot, self.snapshot);
        assign(&mut record.epoch, self.epoch);
        record.accessed_at = record.accessed_at.max(self.accessed_at.unwrap_or_default());
    }
}

/// New attributes with their versions: those that are as they were keep theirs, those that have expired are left out.
fn stamped(before: &AttributeMap, mut new: AttributeMap, version: Version, now: Timestamp) -> AttributeMap {
    new.retain(|name, attribute| {
        attribute.version = before
            .get(name)
            .filter(|before| before.json == attribute.json && before.expires_at == attribute.expires_at)
            .map_or(version, |before| before.version);
        !attribute.is_expired(now)
    });
    new
}

fn assign<T>(place: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *place = new;
    }
}
