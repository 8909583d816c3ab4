//! A PostgreSQL server of one's own, for a while: for tests, benchmarks, and an example that shall run without set-up.
//!
//! The server's programs are found, a cluster is made in a folder, and the server listens on a socket there and on no
//! network. Whoever can open the socket may do everything: it is for what is thrown away.
//!
//! ```no_run
//! use private_postgres::{Disk, PrivateServer};
//!
//! # fn main() -> Result<(), private_postgres::Error> {
//! let server = PrivateServer::start(&std::env::temp_dir().join("trial"), Disk::Durable, std::time::Duration::ZERO)?;
//! println!("psql '{}'", server.url());
//! server.end(); // without it, the watcher does the same a moment after this process is gone
//! # Ok(()) }
//! ```
//!
//! # Invariants
//! 1. A server is gone some seconds after its last user, and so is its folder, however that user ended: users hold a
//!    lock on a file, which the system takes from a process that is killed, and a watcher waits for it.
//! 2. The server runs as an unprivileged user; it refuses to run as root.
#![cfg(unix)]

mod binaries;
mod server;

pub use self::binaries::is_installed;
pub use self::server::{Disk, Error, PrivateServer, unprivileged_account};
