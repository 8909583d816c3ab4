//! What the tests of session-process share: named points to wait at instead of sleeping, a trap for secrets, and the
//! [`conformance`] suite that every store passes.

mod captured;
pub mod conformance;
mod gate;

pub use self::{
    captured::{Captured, capture_tracing},
    gate::Gate,
};
