//! What the tests of session-process share: named points to wait at instead of sleeping, a trap for secrets, stores
//! with [`Hooks`], the [`conformance`] suite that every store passes, [`locks`] for those that have some, and (feature
//! `postgres`) a private PostgreSQL server.

mod captured;
pub mod conformance;
mod gate;
mod hooked;
pub mod locks;
mod long;
#[cfg(all(unix, feature = "postgres"))]
pub mod postgres;

pub use self::{
    captured::{Captured, capture_tracing},
    gate::Gate,
    hooked::{Asked, Hooked, Hooks},
    long::{Progress, long_or},
};
