#![doc = include_str!("../docs/lib.md")]

mod attributes;
mod builder;
mod changes;
mod channel;
mod client;
mod clock;
mod connect;
mod connection;
mod error;
mod health;
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
    connect::{Connect, Connection},
    error::OpenError,
    health::{CacheTrust, Health, LastError, Reachability, Waiting},
    store::PostgresStore,
};
