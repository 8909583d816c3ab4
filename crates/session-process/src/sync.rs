//! The primitives under the engine's small concurrent algorithms, in one place so that `crates/models` can compile the
//! same files against loom's.

pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// Seeds the registry's hash. At random, so that nobody can prepare ids that fall into one bucket.
pub(crate) use foldhash::quality::RandomState as Seed;
pub(crate) use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

/// Shards of the registry: more than threads by far, so that two rarely meet; few enough that an empty engine stays
/// small (16 KiB).
pub(crate) const SHARDS: usize = 256;
