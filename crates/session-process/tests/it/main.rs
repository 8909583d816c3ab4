//! The engine as its users meet it. One file a concern; names are facts.

mod attributes;
mod cancellation;
mod chains;
mod conformance;
mod crashes;
mod deferred;
mod durable;
mod events;
mod hardening;
mod lifetime;
mod limits;
mod locks;
mod messages;
mod observing;
mod parity;
mod parity_durable;
mod parity_records;
mod records;
mod redux;
mod rotation;
mod shutdown;
mod starting;
mod support;
mod tasks;
mod terminating;
