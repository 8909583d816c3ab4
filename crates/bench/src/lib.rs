//! Our engine beside kameo, ractor, actix and plain tokio tasks: one process for each session id.
//!
//! | Module | What is in it |
//! |---|---|
//! | [`contender`] | what is compared: the trait that each side implements once |
//! | [`ours`], [`peers`] | the five sides; [`lineup`] is the one place that lists them |
//! | [`rows`] | what is measured: one idea a file |
//! | [`setting`] | quick or full, and the runtime that everything runs on |
//! | [`report`] | medians, ratios, targets and the table |
//! | [`child`] | running another process: this program once more, or the other binary |
//! | [`ids`] | the session ids, the same for everyone |
//!
//! The commands are `src/main.rs` and, for counting allocations, `src/bin/allocations.rs`.
//!
//! # What always holds
//! 1. Every side gets the same id texts, the same runtime and the same number of rounds, interleaved.
//! 2. A peer's handles are in a `DashMap<String, _>` with the default hasher, and are used in the fastest way that
//!    the peer's public interface has.
//! 3. A message counts when it has been handled: the sums in the sessions are checked after each round.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command: the table on stdout, progress on stderr"
)]

pub mod child;
pub mod contender;
pub mod ids;
pub mod lineup;
pub mod ours;
pub mod parts;
pub mod peers;
pub mod report;
pub mod rows;
pub mod setting;
