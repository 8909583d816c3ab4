#![doc = include_str!("../docs/lib.md")]

mod cookie;
mod current_id;
mod error;
mod layer;
#[cfg(feature = "live")]
pub mod live;
mod presented;
mod rejection;
mod service;
mod session;
mod slot;
mod to_the_end;

pub use self::{
    cookie::{ConfigError, SameSite},
    current_id::CurrentId,
    error::Error,
    layer::SessionLayer,
    rejection::{CurrentIdRejection, MissingSessionLayer, NoSession, SessionRejection},
    service::{ResponseFuture, SessionService},
    session::Session,
};
