//! [`Attributes`]: named values of a session, typed through serde.
//!
//! A value in its own right, without an engine: what a record in a store carries.
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
mod saved;
mod value;

pub use self::{error::AttributeError, limits::Limits, value::Attributes};
