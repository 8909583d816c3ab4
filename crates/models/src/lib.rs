//! Models of the engine's small concurrent algorithms, explored by [loom]: every interleaving of the threads in a
//! model, up to a bound on preemptions.
//!
//! The engine's own files are compiled here a second time, against loom's atomics and locks in `sync`. So what is
//! checked is the code that ships, and the engine needs no feature and no `cfg` for it.
//!
//! A model with a mistake in it is a test that can't fail, so each of them was seen to fail with the line that it
//! guards taken out.

// The files belong to another crate: what this one doesn't use is used there.
#![allow(dead_code, unreachable_pub, missing_debug_implementations)]

mod sync;

/// As much of the session id as the registry sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionId(pub(crate) &'static str);

impl SessionId {
    pub(crate) fn hash_by(&self, build: &impl std::hash::BuildHasher) -> u64 {
        build.hash_one(self.0)
    }
}

pub(crate) mod clock {
    /// As the engine's.
    pub(crate) fn nanos(duration: std::time::Duration) -> u64 {
        u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
    }
}

pub(crate) mod process {
    /// As the engine's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Expiry {
        Idle,
        Absolute,
    }
}

mod engine;

#[cfg(test)]
mod life;
#[cfg(test)]
mod mailbox;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod ticket;
