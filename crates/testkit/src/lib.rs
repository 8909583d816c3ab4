//! What the tests of session-process share: named points to wait at instead of sleeping, and a trap for secrets.

mod captured;
mod gate;

pub use self::{
    captured::{Captured, capture_tracing},
    gate::Gate,
};
