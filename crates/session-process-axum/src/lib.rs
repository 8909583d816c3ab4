#![doc = include_str!("../docs/lib.md")]

mod address;
mod cookie;
mod current_id;
mod error;
mod guesses;
mod keys;
mod layer;
#[cfg(feature = "live")]
pub mod live;
mod origin;
mod presented;
mod rejection;
mod renewal;
mod service;
mod session;
mod slot;
mod step_up;
mod to_the_end;

#[doc = include_str!("../docs/security.md")]
pub mod security {}

pub use self::{
    cookie::{ConfigError, SameSite},
    current_id::CurrentId,
    error::Error,
    guesses::GuessLimit,
    keys::{KeyId, KeyRing, SigningKey},
    layer::SessionLayer,
    rejection::{CrossSiteRequest, CurrentIdRejection, MissingSessionLayer, NoSession, SessionRejection},
    service::{ResponseFuture, SessionService},
    session::Session,
};
