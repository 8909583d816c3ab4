#![doc = include_str!("../../docs/records.md")]

mod access;
mod backend;
mod background;
mod builder;
mod cache;
mod change;
mod config;
mod core;
mod delete;
mod endings;
mod entry;
mod error;
mod handle;
mod load;
mod new;
mod process;
mod service;
mod update;
mod view;

pub use self::{
    builder::RecordsBuilder,
    config::{CacheLimit, RecordsConfig},
    endings::{Because, Ending},
    error::{RecordError, UpdateError},
    handle::{InvalidRecordHandle, RecordHandle},
    new::{Created, NewSession},
    service::{RecordsStats, SessionRecords},
    view::{Listed, SessionView},
};
