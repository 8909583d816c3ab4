//! [`Database`]: one for a test.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio_postgres::{Config, config::Host, error::SqlState};

use super::connect;

/// An empty database, cloned from the server's template. Dropped with everything in it.
#[derive(Debug)]
pub struct Database {
    server: Config,
    name: String,
}

impl Database {
    pub(super) async fn create(server: &Config) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_micros());
        let name = format!("sp_test_{}_{next}_{now}", process::id());
        let client = connect(server).await;
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
        if let Err(error) = client.batch_execute(&create).await {
            assert!(
                error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE),
                "the role of DATABASE_URL may not create databases, and each test has one of its own: as a superuser, \
                 ALTER ROLE {} CREATEDB",
                server.get_user().unwrap_or("…")
            );
            panic!("no database for this test: {error:?}");
        }
        Self {
            server: server.clone(),
            name,
        }
    }

    /// How to connect to it.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = self.server.clone();
        config.dbname(&self.name);
        config
    }

    /// The same as a URL, for another program.
    ///
    /// # Panics
    /// If the server has no host, or one that is no text.
    #[must_use]
    pub fn url(&self) -> String {
        let config = self.config();
        let host = match config.get_hosts().first().expect("a host") {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.to_str().expect("text").to_owned(),
        };
        let password = config.get_password().map(|password| {
            let password = std::str::from_utf8(password).expect("text");
            format!(":{}", escaped(password))
        });
        let port = config.get_ports().first().map(|port| format!(":{port}"));
        format!(
            "postgres://{}{}@{}{}/{}",
            escaped(config.get_user().unwrap_or_default()),
            password.unwrap_or_default(),
            escaped(&host),
            port.unwrap_or_default(),
            self.name
        )
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection to it.
    ///
    /// # Panics
    /// If the server gives none.
    pub async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.config()).await
    }
}

/// For a part of a URL.
fn escaped(text: &str) -> String {
    let keeps = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes()
        .map(|byte| {
            if keeps(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

impl Drop for Database {
    fn drop(&mut self) {
        let server = self.server.clone();
        let drop_it = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A runtime of its own: this may run inside one, or while one is taken down.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            runtime.block_on(async {
                let patience = std::time::Duration::from_secs(5);
                tokio::time::timeout(patience, async {
                    let (client, connection) = server.connect(tokio_postgres::NoTls).await.ok()?;
                    tokio::spawn(connection);
                    client.batch_execute(&drop_it).await.ok()
                })
                .await
                .ok()?
            })
        });
        let _ = dropped.join();
    }
}
