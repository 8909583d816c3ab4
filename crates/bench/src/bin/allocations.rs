//! Counts the allocations of a call: one number a line for each side, ours first. Run by the row `alloc_call_1`.
#![allow(clippy::print_stdout, reason = "a command")]

use std::alloc::System;

use bench::{
    rows,
    setting::{Mode, Setting},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let allocated = || {
        let stats = ALLOCATOR.stats();
        stats.allocations + stats.reallocations
    };
    for allocations in rows::count(&Setting::new(Mode::Quick, None), allocated) {
        println!("{allocations}");
    }
}
