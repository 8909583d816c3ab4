//! [`Entry`]: a record in memory.

use std::{mem::size_of, sync::Arc, time::Duration};

use super::access::{Access, margin};
use crate::{
    Timestamp,
    store::{Attribute, Lifetime, Record},
};

/// A record as it was read or written, and when it was last used since.
///
/// In this order in memory: what every read looks at comes first, beside the counters of the `Arc`.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) access: Arc<Access>,
    /// When the store was asked for it.
    pub(super) read_at: Timestamp,
    /// The record's, for a reader that goes no further.
    lifetime: Lifetime,
    accessed_at: Timestamp,
    pub(super) record: Record,
    /// What it takes up, about.
    pub(super) bytes: u64,
}

impl Entry {
    pub(super) fn new(record: Record, access: Arc<Access>, read_at: Timestamp) -> Self {
        let bytes = estimate(&record);
        Self {
            access,
            read_at,
            lifetime: record.lifetime,
            accessed_at: record.accessed_at,
            record,
            bytes,
        }
    }

    #[inline]
    pub(super) fn accessed_at(&self) -> Timestamp {
        self.accessed_at.max(self.access.at())
    }

    #[inline]
    pub(super) fn expires_at(&self) -> Timestamp {
        self.lifetime.ends(self.accessed_at())
    }

    #[inline]
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at() > now
    }

    /// It was read so lately that it may be served. A clock that was set back makes it old.
    #[inline]
    pub(super) fn is_fresh(&self, now: Timestamp, max_age: Duration) -> bool {
        self.read_at <= now && now.saturating_since(self.read_at) < max_age
    }

    /// The store would soon take it for unused, and has to be told before anybody relies on it.
    #[inline]
    pub(super) fn is_nearly_unused(&self, now: Timestamp) -> bool {
        self.lifetime.idle_timeout.is_some_and(|idle| {
            let told = self.access.stored().max(self.accessed_at);
            now.saturating_add(margin(idle) / 2) >= told.saturating_add(idle)
        })
    }
}

/// An estimate, for a cache that is bounded in bytes.
fn estimate(record: &Record) -> u64 {
    /// The two counters of an `Arc` and what the allocator adds.
    const SHARED: usize = 32;
    let text = |text: &Option<crate::store::OwnerText>| text.as_ref().map_or(0, |text| text.as_str().len() + SHARED);
    let attributes: usize = record
        .attributes
        .iter()
        .map(|(name, attribute)| {
            size_of::<Arc<str>>() + size_of::<Attribute>() + name.len() + attribute.json.len() + 2 * SHARED
        })
        .sum();
    let snapshot = record
        .snapshot
        .as_ref()
        .map_or(0, |snapshot| snapshot.bytes.len() + snapshot.kind.len() + 2 * SHARED);
    let texts = text(&record.user_id) + text(&record.group_id) + text(&record.label);
    (size_of::<Entry>() + size_of::<Access>() + 2 * SHARED + attributes + snapshot + texts) as u64
}
