#![doc = include_str!("../docs/lib.md")]

mod attributes;
mod builder;
mod changes;
mod connection;
mod error;
mod queue;
mod reader;
mod row;
mod schema;
mod store;
mod writer;

pub use self::{
    builder::{Builder, Synchronous},
    error::OpenError,
    store::SqliteStore,
};
