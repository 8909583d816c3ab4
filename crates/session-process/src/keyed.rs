//! [`Keyed`]: something that is there for each key as long as somebody is at it.

use std::{collections::HashMap, hash::Hash, ops::Deref, sync::Arc};

use parking_lot::Mutex;

type Map<K, V> = Arc<Mutex<HashMap<K, Arc<V>>>>;

/// A value for each key that somebody is at. A clone is the same.
#[derive(Debug)]
pub(crate) struct Keyed<K, V>(Map<K, V>);

impl<K, V> Default for Keyed<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> Clone for Keyed<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Copy + Eq + Hash, V: Default> Keyed<K, V> {
    /// What is there, or a new one.
    pub(crate) fn at(&self, key: K) -> At<K, V> {
        let value = Arc::clone(self.0.lock().entry(key).or_default());
        At {
            map: Arc::clone(&self.0),
            key,
            value,
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Somebody is at a key; the last one to leave takes what is there away.
#[derive(Debug)]
pub(crate) struct At<K: Copy + Eq + Hash, V> {
    map: Map<K, V>,
    pub(crate) key: K,
    value: Arc<V>,
}

impl<K: Copy + Eq + Hash, V> At<K, V> {
    /// What is there, to be held by somebody who leaves no later than this is dropped.
    pub(crate) fn shared(&self) -> Arc<V> {
        Arc::clone(&self.value)
    }
}

impl<K: Copy + Eq + Hash, V> Deref for At<K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<K: Copy + Eq + Hash, V> Drop for At<K, V> {
    fn drop(&mut self) {
        let mut map = self.map.lock();
        // The map's and ours. Others are made under this lock alone.
        if Arc::strong_count(&self.value) == 2 {
            map.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_a_key_is_one_thing_and_goes_with_the_last_who_is_at_it() {
        let keyed = Keyed::<u8, Mutex<u32>>::default();
        let (one, other) = (keyed.at(1), keyed.clone().at(1));
        *one.lock() += 1;
        drop(one);
        assert_eq!((*other.lock(), *keyed.at(2).lock()), (1, 0));
        assert_eq!(keyed.len(), 1);
        drop(other);
        assert_eq!(keyed.len(), 0);
        assert_eq!(*keyed.at(1).lock(), 0, "a new one");
    }
}
