//! How long to wait after something failed, before it is tried again.

use std::time::Duration;

/// Waits that double.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackOff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl BackOff {
    /// The wait after a failure, and `failures` before it.
    pub(crate) fn wait(self, failures: u32) -> Duration {
        let doubled = 2u32.saturating_pow(failures);
        self.first.saturating_mul(doubled).min(self.longest)
    }

    /// The same, shortened by chance to half of it at the least, so that many nodes don't come back at once.
    pub(crate) fn wait_by_chance(self, failures: u32) -> Duration {
        let full = self.wait(failures);
        let mut chance = [0];
        // Without randomness the wait is the full one.
        let _ = getrandom::fill(&mut chance);
        full - full / 2 * u32::from(chance[0]) / 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let second = Duration::from_secs(1);
        let waits = BackOff {
            first: second,
            longest: 30 * second,
        };
        let after = |failures| waits.wait(failures).as_secs();
        assert_eq!([0, 1, 2, 4, 5, 40, u32::MAX].map(after), [1, 2, 4, 16, 30, 30, 30]);
        for failures in 0..8 {
            let (full, wait) = (waits.wait(failures), waits.wait_by_chance(failures));
            assert!(full / 2 <= wait && wait <= full, "{wait:?}");
        }
    }
}
