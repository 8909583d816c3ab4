//! The primitives under the engine's small lock-based algorithms, in one place so that `crates/models` can compile
//! the same files against loom's.

pub(crate) use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use parking_lot::Mutex;
