//! The primitives of `session-process/src/sync.rs`, from loom. Its locks have the standard library's signatures; the
//! engine's are parking_lot's.

pub(crate) use loom::{
    hint::spin_loop,
    sync::{
        MutexGuard,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

/// The same in every run: loom repeats a model and must meet the same shards.
pub(crate) use foldhash::quality::FixedState as Seed;

/// Enough for two to be different.
pub(crate) const SHARDS: usize = 2;

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("no model panics while it holds a lock")
    }
}

/// Readers exclude each other here, which is all that the models need: loom's own `RwLock` loses track of waiting
/// writers ("expected to be able to acquire write lock").
pub(crate) struct RwLock<T>(Mutex<T>);

pub(crate) type RwLockWriteGuard<'a, T> = MutexGuard<'a, T>;

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self(Mutex::new(T::default()))
    }
}

impl<T> RwLock<T> {
    pub(crate) fn read(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    pub(crate) fn write(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}
