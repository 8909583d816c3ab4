//! [`long_or`]: how much a test does.

/// `short` in the normal run, `long` with `cargo xtask test --long`, which sets `LONG_TESTS`.
#[must_use]
pub fn long_or(short: u64, long: u64) -> u64 {
    if std::env::var_os("LONG_TESTS").is_some() {
        long
    } else {
        short
    }
}
