//! The peers, each in its fastest idiomatic configuration, with its handles in a `DashMap`.
//!
//! Common to all: a message is sent while the map's read guard is held, where the peer can send without waiting.
//! That saves a clone of the handle for each message, and with it two to four counts on a shared cache line.

pub mod actix;
pub mod kameo;
pub mod population;
pub mod ractor;
pub mod tokio_task;
