//! A private PostgreSQL server for tests and benchmarks.
//!
//! Nobody has to set one up: it is a [`PrivateServer`], on a socket in a temporary folder and on no network. Where `DATABASE_URL` is set, [`Server::shared`] is that server instead, and
//! each test gets a database of its own on it.
//!
//! # Invariants
//! 1. A test without a server fails and says what to install. None is skipped.
//! 2. A server is gone some seconds after its last user, however that ended.

mod database;
mod faults;
mod pooler;
mod proxy;

use std::{
    env,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio_postgres::{Config, NoTls};

pub use private_postgres::Disk;
use private_postgres::PrivateServer;

pub use self::{
    database::Database,
    pooler::Pooler,
    proxy::{Proxy, Way},
};

/// A running server. Keep it as long as its databases are used.
#[derive(Debug)]
pub struct Server {
    config: Config,
    url: String,
    private: Option<PrivateServer>,
}

impl Server {
    /// The server that the tests of this user share, whichever process they are in. Started if it isn't running.
    ///
    /// With `DATABASE_URL` set, that one: its role must be allowed to create databases, and needs no other rights.
    ///
    /// # Panics
    /// If there is no server and none can be started; the message says what to do.
    pub async fn shared() -> Self {
        if let Ok(url) = env::var("DATABASE_URL") {
            let config = url.parse().expect("DATABASE_URL is a connection string of PostgreSQL");
            return Self {
                config,
                url,
                private: None,
            };
        }
        Self::local().await
    }

    /// The same, whatever `DATABASE_URL` says: for a test that has to be the server's superuser, to create roles.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub async fn local() -> Self {
        let user = rustix::process::geteuid().as_raw();
        let folder = env::temp_dir().join(format!("session-process-pg-{user}"));
        // Ten seconds: the pause between two tests, with a compilation in between where it is short.
        Self::begin(folder, Disk::Careless, Duration::from_secs(10))
    }

    /// A server of this test's own, to stop, freeze and measure.
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub async fn private(disk: Disk) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("session-process-pg-{}-{next}", process::id()));
        Self::begin(folder, disk, Duration::ZERO)
    }

    fn begin(folder: PathBuf, disk: Disk, grace: Duration) -> Self {
        let begun = PrivateServer::start(&folder, disk, grace);
        let cluster = begun.unwrap_or_else(|wrong| {
            panic!(
                "no PostgreSQL for this test: {wrong}; `cargo xtask test` installs it on Debian as root, or set \
                 DATABASE_URL to a server where databases may be created"
            )
        });
        let mut config = Config::new();
        config.host_path(cluster.sockets()).user("postgres").dbname("postgres");
        let url = format!("host={} user=postgres dbname=postgres", cluster.sockets().display());
        Self {
            config,
            url,
            private: Some(cluster),
        }
    }

    /// How to connect to it.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The same as text.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection to the server's own database.
    ///
    /// # Panics
    /// If it gives none.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.config).await
    }

    /// An empty database, which goes when it is dropped.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn database(&self) -> Database {
        Database::create(&self.config).await
    }

    fn cluster(&self) -> &PrivateServer {
        self.private.as_ref().expect("a server of the test's own")
    }
}

pub(crate) async fn connect(config: &Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
}
