//! [`long_or`]: how much a test does; and [`Progress`], for those that do much.

use std::{
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// From one line of a long test to the next.
const SAYS_EVERY: Duration = Duration::from_secs(5);

/// `short` in the normal run, `long` with `cargo xtask test --long`, which sets `LONG_TESTS`.
#[must_use]
pub fn long_or(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

fn is_long() -> bool {
    std::env::var_os("LONG_TESTS").is_some()
}

/// How far a test is: a line to standard error some times a minute, in the long run.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    begun: Instant,
    /// Lines so far.
    said: AtomicU64,
}

impl Progress {
    /// Of so many of `what`.
    #[must_use]
    pub fn new(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            done: AtomicU64::new(0),
            begun: Instant::now(),
            said: AtomicU64::new(0),
        }
    }

    /// One more is done.
    pub fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let due = self.begun.elapsed().as_secs() / SAYS_EVERY.as_secs();
        let said = self.said.load(Ordering::Relaxed);
        if (due > said || done == self.total)
            && is_long()
            && self
                .said
                .compare_exchange(said, due, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let seconds = self.begun.elapsed().as_secs_f64();
            let left = seconds / done as f64 * (self.total - done) as f64;
            // An error: nobody looks.
            let _ = writeln!(
                std::io::stderr(),
                "{done} of {} {} after {seconds:.0} s, some {left:.0} s to go",
                self.total,
                self.what
            );
        }
    }
}
