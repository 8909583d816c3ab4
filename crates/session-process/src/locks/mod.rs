//! Locks that all nodes share: [`Locks`], over any [`LockStore`](crate::store::LockStore). The stores in memory and in
//! PostgreSQL are such; that in SQLite is not.
//!
//! ```
//! use session_process::{locks::Locks, store::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let locks = Locks::new(MemoryStore::new());
//!
//! let lock = locks.lock("nightly report").await?;
//! assert!(locks.try_lock("nightly report").await?.is_none(), "one at a time");
//! tokio::select! {
//!     () = async { /* the report */ } => {}
//!     () = lock.lost() => { /* somebody else may have begun with it: stop */ }
//! }
//! lock.release().await?;
//!
//! assert!(locks.try_lock("nightly report").await?.is_some());
//! # Ok(()) }
//! ```
//!
//! # What can be relied on
//! - **A lock is a lease**, by the store's clock: a node that dies holds nothing up for longer than that. As long as the
//!   holder lives, the lease is renewed in the background, three times in its length.
//! - **The holder is told when it is lost**: [`Lock::lost`] ends, [`Lock::is_held`] is `false`, at the latest a tenth of
//!   the lease before somebody else can have it. That is judged by a clock that goes on while the machine sleeps, from
//!   the moment at which the store was asked. No calendar is looked at.
//! - **A holder that doesn't notice does no harm**: a process can be stopped between the look at the lock and what it
//!   does then. [`Lock::fence`] is a token that grows with each holder, and
//!   [`SessionRecords::update_under`](crate::records::SessionRecords::update_under) saves nothing under one that is not
//!   the newest. Whoever else is asked to do something under the lock can remember the greatest
//!   [token](Lock::token) and refuse smaller ones.
//! - **Of one node, those who wait come in their order**, and one of them asks the store. Among nodes there is no order.

mod clock;
mod keeper;
mod lock;
mod service;
mod turns;

pub use self::{lock::Lock, service::Locks};
