//! [`Attributes`]: named values of a session, typed through serde.
//!
//! It is the process of a session whose type nobody named, and it is a value in its own right, which needs no engine:
//! what a record in a store carries.
//!
//! # As a process
//!
//! Every value goes through serde. Several changes go in one message, and all of them are made or none.
//!
//! ```
//! use std::time::Duration;
//! use session_process::{AttributeError, SessionId, Sessions, attributes};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = <Sessions>::builder()
//!     .extension(attributes::Limits::new().max_count(20))
//!     .build()?;
//! let id = SessionId::generate();
//! sessions.start(&id).await?;
//!
//! sessions.insert(&id, "theme", "dark").await?;
//! sessions.insert_expiring(&id, "code", 4711, Duration::from_secs(60)).await?;
//! assert_eq!(sessions.get::<String>(&id, "theme").await?.as_deref(), Some("dark"));
//!
//! let left = sessions
//!     .update(&id, |attributes| {
//!         attributes.insert("last", "tea")?;
//!         let left = attributes.update("credit", |credit: &mut i64| { *credit -= 5; *credit })?;
//!         if left < 0 { Err(AttributeError::refuse("not enough credit")) } else { Ok(left) }
//!     })
//!     .await;
//! assert_eq!(left.unwrap_err().to_string(), "not enough credit");
//! assert_eq!(sessions.get::<String>(&id, "last").await?, None, "it was undone");
//!
//! // The same as messages, for whatever takes messages:
//! let code = sessions.call(&id, attributes::get::<u32>("code")).await??;
//! assert_eq!(code, Some(4711));
//! # Ok(()) }
//! ```
//!
//! # As a value
//!
//! ```
//! use std::time::Duration;
//! use session_process::{Attributes, Timestamp};
//!
//! let mut attributes = Attributes::new(Timestamp::system());
//! attributes.insert("theme", "dark")?;
//! attributes.insert_expiring("code", 4711, Duration::from_secs(60))?;
//! let visits = attributes.update("visits", |visits: &mut u64| {
//!     *visits += 1;
//!     *visits
//! })?;
//!
//! assert_eq!(visits, 1);
//! assert_eq!(attributes.get::<String>("theme")?.as_deref(), Some("dark"));
//! assert!(attributes.get::<u64>("theme").is_err(), "it is text");
//!
//! attributes.set_now(attributes.now().saturating_add(Duration::from_secs(60)));
//! assert_eq!(attributes.get::<u32>("code")?, None);
//! # Ok::<(), session_process::AttributeError>(())
//! ```

mod error;
mod json;
mod limits;
mod messages;
mod process;
mod saved;
mod sessions;
mod value;

pub(crate) use self::json::read as read_json;
pub use self::{
    error::AttributeError,
    limits::Limits,
    messages::{
        All, Clear, Get, Insert, Remove, Update, all, clear, discard, get, insert, insert_expiring, remove, update,
    },
    sessions::Error,
    value::Attributes,
};
