//! [`Keyed`]: something that is there for each key as long as somebody is at it.

use std::{collections::HashMap, hash::Hash, ops::Deref, sync::Arc};

use parking_lot::Mutex;

type Map<K, V> = Arc<Mutex<HashMap<K, Place<V>>>>;

#[derive(Debug, Default)]
struct Place<V> {
    /// How many are at it.
    held: usize,
    value: Arc<V>,
}

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
        let value = {
            let mut map = self.0.lock();
            let place = map.entry(key).or_default();
            place.held += 1;
            Arc::clone(&place.value)
        };
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
        let Some(place) = map.get_mut(&self.key) else { return };
        place.held -= 1;
        if place.held == 0 {
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

    #[test]
    fn of_two_who_leave_at_once_one_is_the_last() {
        let keyed = Keyed::<u8, Mutex<u32>>::default();
        let together = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let here = keyed.at(1);
                        together.wait();
                        drop(here);
                        together.wait();
                        assert_eq!(keyed.len(), 0);
                        together.wait();
                    }
                });
            }
        });
    }
}
