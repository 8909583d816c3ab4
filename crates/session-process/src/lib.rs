#![doc = include_str!("../docs/lib.md")]

pub mod attributes;
mod authentication;
mod back_off;
mod builder;
mod clock;
mod config;
mod context;
mod durability;
mod engine;
mod error;
pub mod events;
mod id;
mod keyed;
mod limits;
pub mod locks;
mod observe;
mod process;
pub mod records;
pub mod redux;
mod sessions;
pub mod store;
mod sync;
mod timestamp;

pub mod guide;

#[cfg(any(test, feature = "testing"))]
pub use clock::ManualClock;

pub use self::{
    attributes::{AttributeError, Attributes},
    builder::{Builder, StartOptions},
    config::Config,
    context::{Context, Deferred, ReplySender, TaskKey},
    durability::{Durability, LoadError, SaveError, Schema, SchemaError},
    engine::{Cursor, Monitor, SessionStats, ShutdownReport},
    error::{BuildError, CallError, CastError, NotStarted, RotateError, SharedError, StartError, TerminateError},
    events::Event,
    id::{InvalidSessionId, PublicHandle, SessionId},
    observe::{Follower, Observer},
    process::{EndReason, Expiry, Handle, Init, InitError, Process, Restart},
    sessions::{Health, Page, Sessions, Stats},
    timestamp::Timestamp,
};
