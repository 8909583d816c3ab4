//! Session ids as the engine makes them, 32 characters of `[A-Za-z0-9_-]`, but the same in every run.

/// An endless source of ids. Two sources with the same seed give the same ids.
#[derive(Debug)]
pub struct IdSource {
    state: u64,
}

impl IdSource {
    /// A source that starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next id.
    pub fn next_id(&mut self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut id = String::with_capacity(32);
        for _ in 0..4 {
            let mut bits = self.next_u64();
            for _ in 0..8 {
                id.push(char::from(ALPHABET[(bits & 63) as usize]));
                bits >>= 6;
            }
        }
        id
    }

    /// The next `count` ids, made into what `prepare` makes of them.
    pub fn take<I>(&mut self, count: usize, prepare: impl Fn(String) -> I) -> Vec<I> {
        (0..count).map(|_| prepare(self.next_id())).collect()
    }

    /// Puts `items` into an order without a pattern that a cache could guess (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.next_u64() % (last as u64 + 1);
            items.swap(last, other as usize);
        }
    }

    /// SplitMix64: even and quick, and no secret depends on it here.
    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_32_characters_and_all_different() {
        let ids: HashSet<_> = IdSource::new(1).take(10_000, |id| id).into_iter().collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut items: Vec<_> = (0..1_000).collect();
        IdSource::new(1).shuffle(&mut items);
        assert_ne!(items, (0..1_000).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1_000).collect::<Vec<_>>());
    }
}
