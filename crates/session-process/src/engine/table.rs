//! The table of one shard of the registry: open addressing in the order of the hashes.
//!
//! An item lies where its hash points to, as a fraction of the room, or a little behind, and all items lie in the order
//! of their hashes (linear probing, ordered as in [Robin Hood hashing]). With a million sessions, what a table costs is
//! the waiting for memory that nobody has looked at lately, and this one waits once for an item: one with control bytes
//! apart from its items (`hashbrown`) waits twice. It grows by going through itself once from front to back, by a half
//! each time, and pages of a list are parts of it, without sorting.
//!
//! # Invariants
//! 1. The hashes of the items never fall from one slot to a later one.
//! 2. Between the slot that an item's hash points to and the one it lies in, no slot is empty.
//! 3. `len` is the number of items, and at least a slot in five stays empty: so a search looks at two or three items,
//!    and an insertion moves a dozen at most, on average.
//!
//! The hashes must be seeded. Items with the same hash are searched one by one.
//!
//! [Robin Hood hashing]: https://cs.uwaterloo.ca/research/tr/1986/CS-86-14.pdf

use std::ops::Index;

/// Items of type `T`, each with a note that can be changed where it lies.
#[derive(Debug)]
pub(super) struct Table<T, N> {
    /// As many as hashes point to, and some behind them: for what the last of those had no room for, and so that a search
    /// from the last on has as many to look at as it does in one go.
    slots: Vec<Slot<T, N>>,
    /// How many slots hashes point to.
    homes: usize,
    len: usize,
}

#[derive(Debug)]
struct Slot<T, N> {
    item: Option<T>,
    note: N,
    /// [`u32::MAX`] where there is no item, so that a search can look at it all the same.
    hash: u32,
}

/// What lies in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a, T, N> {
    pub(super) hash: u32,
    pub(super) item: &'a T,
    pub(super) note: &'a N,
}

/// For the first item.
const FEWEST_HOMES: usize = 4;

/// How many slots there is memory for behind those that every table has. They are added when they are needed, hardly ever.
const SPARE: usize = 12;

/// Slots that a search looks at in one go.
const AT_ONCE: usize = 4;

/// Below this, a table doesn't give memory back.
const SMALL: usize = 64;

impl<T, N> Default for Table<T, N> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            homes: 0,
            len: 0,
        }
    }
}

impl<T, N: Default> Table<T, N> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Has the memory that a search for this hash looks at come nearer.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        let home = home(hash, self.homes);
        for slot in [home, home + AT_ONCE - 1] {
            prefetch_index::prefetch_index(&self.slots, slot);
        }
    }

    /// Where the item with this hash lies that `is` says yes to; or, if there is none, where it would go.
    #[inline]
    pub(super) fn search(&self, hash: u32, mut is: impl FnMut(&T) -> bool) -> Result<usize, usize> {
        let mut at = home(hash, self.homes);
        if let Some(first) = self.slots.get(at..at + AT_ONCE) {
            // Counted, with no branch that depends on where it lies: a wrong guess would take longer than to look at all.
            at += first.iter().map(|slot| usize::from(slot.hash < hash)).sum::<usize>();
        }
        while let Some(slot) = self.slots.get(at) {
            let Some(item) = &slot.item else { break };
            if slot.hash > hash {
                break;
            }
            if slot.hash == hash && is(item) {
                return Ok(at);
            }
            at += 1;
        }
        Err(at)
    }

    /// Where one more item with this hash would go.
    pub(super) fn behind(&self, hash: u32) -> usize {
        self.search(hash, |_| false).unwrap_or_else(|at| at)
    }

    #[inline]
    pub(super) fn find(&self, hash: u32, is: impl FnMut(&T) -> bool) -> Option<Entry<'_, T, N>> {
        let at = self.search(hash, is).ok()?;
        self.slots[at].entry()
    }

    /// Puts an item where a [`search`](Self::search) for its hash ended in vain, or [`behind`](Self::behind) it, with nothing changed since.
    pub(super) fn insert(&mut self, mut at: usize, hash: u32, item: T, note: N) -> &T {
        if (self.len + 1) * 5 > self.homes * 4 {
            self.rebuild(self.homes + self.homes / 2);
            at = self.behind(hash);
        }
        let in_the_way = self.slots[at..].iter().take_while(|slot| slot.item.is_some()).count();
        let end = at + in_the_way;
        if end == self.slots.len() {
            if end == self.slots.capacity() {
                self.slots.reserve_exact(SPARE);
            }
            self.slots.push(Slot::default());
        }
        self.slots[at..=end].rotate_right(1);
        self.len += 1;
        let slot = &mut self.slots[at];
        (slot.hash, slot.note) = (hash, note);
        slot.item.insert(item)
    }

    /// Takes out what a [`search`](Self::search) has found there, with nothing changed since.
    ///
    /// # Panics
    /// If there is nothing.
    pub(super) fn remove(&mut self, at: usize) -> (T, N) {
        let Slot { item, note, .. } = std::mem::take(&mut self.slots[at]);
        let item = item.expect("the item that was found");
        // Those behind it that lie further back than they need to move up.
        let displaced =
            |(slot, from): &(&Slot<T, N>, usize)| slot.item.is_some() && home(slot.hash, self.homes) < *from;
        let behind = self.slots[at + 1..].iter().zip(at + 1..);
        let moved = behind.take_while(displaced).count();
        self.slots[at..=at + moved].rotate_left(1);
        self.len -= 1;
        if self.homes > SMALL && self.len < self.homes / 8 {
            self.rebuild(self.len * 2);
        }
        (item, note)
    }

    /// In the order of their hashes.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_, T, N>> {
        self.slots.iter().filter_map(Slot::entry)
    }

    /// Those with a greater hash, or all, in the order of their hashes.
    pub(super) fn after(&self, hash: Option<u32>) -> impl Iterator<Item = Entry<'_, T, N>> {
        let home = hash.map_or(0, |hash| home(hash, self.homes));
        let slots = self.slots.get(home..).unwrap_or_default();
        let before = move |entry: &Entry<'_, T, N>| hash.is_some_and(|hash| entry.hash <= hash);
        slots.iter().filter_map(Slot::entry).skip_while(before)
    }

    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().filter_map(|slot| slot.item)
    }

    fn rebuild(&mut self, homes: usize) {
        let homes = homes.max(FEWEST_HOMES);
        let mut slots = Vec::with_capacity(homes + AT_ONCE + SPARE.min(homes));
        for slot in std::mem::take(&mut self.slots) {
            if slot.item.is_none() {
                continue;
            }
            let home = home(slot.hash, homes);
            if home > slots.len() {
                slots.resize_with(home, Slot::default);
            }
            slots.push(slot);
        }
        let all = slots.len().max(homes + AT_ONCE);
        slots.resize_with(all, Slot::default);
        (self.slots, self.homes) = (slots, homes);
    }
}

/// The item that a [`search`](Table::search) has found there.
impl<T, N> Index<usize> for Table<T, N> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        self.slots[at].item.as_ref().expect("the item that was found")
    }
}

impl<T, N> Slot<T, N> {
    #[inline]
    fn entry(&self) -> Option<Entry<'_, T, N>> {
        let Self { item, note, hash } = self;
        item.as_ref().map(|item| Entry {
            hash: *hash,
            item,
            note,
        })
    }
}

impl<T, N: Default> Default for Slot<T, N> {
    fn default() -> Self {
        Self {
            item: None,
            note: N::default(),
            hash: u32::MAX,
        }
    }
}

/// The slot that a hash points to: as far along the slots as the hash lies along all hashes, so that their order is one.
#[inline]
fn home(hash: u32, homes: usize) -> usize {
    ((u64::from(hash) * homes as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Item {
        hash: u32,
        name: u8,
    }

    /// The note is the hash once more.
    impl Table<Item, u32> {
        fn put(&mut self, item: Item) -> bool {
            match self.search(item.hash, |other| *other == item) {
                Ok(_) => false,
                Err(at) => {
                    assert_eq!(*self.insert(at, item.hash, item, item.hash), item);
                    true
                }
            }
        }

        fn take(&mut self, item: Item) -> bool {
            match self.search(item.hash, |other| *other == item) {
                Ok(at) => {
                    assert_eq!(self.remove(at), (item, item.hash));
                    true
                }
                Err(_) => false,
            }
        }

        fn check(&self) {
            let entries: Vec<_> = self.iter().collect();
            assert_eq!(entries.len(), self.len);
            assert!(entries.is_sorted_by_key(|entry| entry.hash));
            let consistent = |entry: &Entry<'_, Item, u32>| entry.hash == entry.item.hash && entry.hash == *entry.note;
            assert!(entries.iter().all(consistent));
            assert!(self.len * 5 <= self.homes * 4);
            for (at, slot) in self.slots.iter().enumerate() {
                if slot.item.is_none() {
                    assert_eq!(slot.hash, u32::MAX);
                    continue;
                }
                let home = home(slot.hash, self.homes);
                assert!(home <= at);
                assert!(self.slots[home..at].iter().all(|slot| slot.item.is_some()));
            }
        }
    }

    /// Hashes that are spread, that crowd at either end, and that are the same.
    fn hashes() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>(), 0_u32..20, u32::MAX - 20..=u32::MAX, Just(1 << 31)]
    }

    fn items() -> impl Strategy<Value = Item> {
        (hashes(), 0_u8..4).prop_map(|(hash, name)| Item { hash, name })
    }

    proptest! {
        #[test]
        fn keeps_what_a_set_keeps(steps in prop::collection::vec((prop::bool::weighted(0.7), items()), 0..400)) {
            let mut table = Table::default();
            let mut set = std::collections::BTreeSet::new();
            for (put, item) in steps {
                if put {
                    prop_assert_eq!(table.put(item), set.insert(item));
                } else {
                    prop_assert_eq!(table.take(item), set.remove(&item));
                }
                table.check();
            }
            for item in &set {
                prop_assert!(table.find(item.hash, |other| other == item).is_some());
            }
            // To the end, so that memory is given back on the way.
            for item in set {
                prop_assert!(table.take(item));
                table.check();
            }
        }

        #[test]
        fn pages_begin_behind_a_hash(items in prop::collection::btree_set(items(), 0..200), after in hashes()) {
            let mut table = Table::default();
            for item in &items {
                table.put(*item);
            }
            let expected: Vec<_> = items.iter().filter(|item| item.hash > after).map(|item| item.hash).collect();
            let found: Vec<_> = table.after(Some(after)).map(|entry| entry.hash).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn memory_comes_and_goes_with_the_items() {
        let item = |nth: u32| Item {
            hash: nth.wrapping_mul(0x9E37_79B9),
            name: 0,
        };
        let mut table = Table::default();
        for nth in 0..100_000 {
            table.put(item(nth));
        }
        table.check();
        assert!(table.slots.capacity() < 200_000, "{}", table.slots.capacity());
        for nth in 0..100_000 {
            assert!(table.take(item(nth)));
        }
        assert_eq!(table.iter().count(), 0);
        assert!(table.slots.capacity() <= SMALL + SPARE, "{}", table.slots.capacity());
    }

    #[test]
    fn what_the_last_slots_have_no_room_for_lies_behind_them_in_memory_that_is_there() {
        let item = |name| Item { hash: u32::MAX, name };
        let mut table = Table::default();
        // As many as fit without growth, all of them with the last slot for a home.
        for nth in 0..20 {
            table.put(Item { hash: nth, name: 0 });
        }
        for nth in 0..20 {
            table.take(Item { hash: nth, name: 0 });
        }
        let before = table.slots.capacity();
        for name in 0..16 {
            table.put(item(name));
        }
        assert_eq!(table.slots.capacity(), before);
        for name in 16..20 {
            table.put(item(name));
        }
        table.check();
        for name in 0..20 {
            assert!(table.take(item(name)));
        }
    }

    #[test]
    fn an_empty_one_has_nothing_and_takes_no_memory() {
        let table = Table::<Item, u32>::default();
        assert_eq!(table.search(u32::MAX, |_| true), Err(0));
        assert_eq!(table.after(Some(7)).count() + table.after(None).count(), 0);
        assert_eq!(table.slots.capacity(), 0);
    }
}
