#![doc = include_str!("../docs/lib.md")]

mod attributes;
mod builder;
mod changes;
mod channel;
mod clock;
mod connection;
mod error;
mod listener;
mod locks;
mod names;
mod poller;
mod queue;
mod reader;
mod recent;
mod row;
mod schema;
mod store;
mod sweeper;
mod writer;

pub use self::{
    builder::{Builder, Coherence},
    error::OpenError,
    store::{Health, PostgresStore},
};
