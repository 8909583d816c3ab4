//! [`Link`]: one connection, made again when it is lost.
//!
//! # Invariants
//! 1. While the database is away, callers are refused at once: one of them tries, and then nobody until the back-off is
//!    over. Nobody queues up behind a connection that isn't there.
//! 2. A connection on which something was given up half-way is never used again.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use session_process::store::StoreError;
use tokio_postgres::{Client, Config, NoTls, Statement};

use crate::{clock::DatabaseClock, error::store_error, names::Names};

/// The first wait after a failure, and the longest. A server that restarts is back in less than a second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How connections are made, and what all of them share.
pub(crate) struct Connector {
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    pub(crate) names: Names,
    pub(crate) clock: DatabaseClock,
    pub(crate) timeout: Duration,
    /// How long a row may be locked by somebody else.
    pub(crate) lock_timeout: Duration,
}

#[derive(Clone)]
pub(crate) enum Tls {
    None,
    #[cfg(feature = "rustls")]
    Rustls(tokio_postgres_rustls::MakeRustlsConnect),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            #[cfg(feature = "rustls")]
            Self::Rustls(_) => "Rustls",
        })
    }
}

impl Connector {
    /// A connection with the settings of the store. `hear` is given what the server says of its own accord.
    pub(crate) async fn connect(
        &self,
        hear: Option<tokio::sync::mpsc::UnboundedSender<tokio_postgres::Notification>>,
    ) -> Result<Client, StoreError> {
        let connecting = async {
            let fail = |error| store_error("connect", error);
            let client = match &self.tls {
                Tls::None => {
                    let (client, connection) = self.config.connect(NoTls).await.map_err(unreachable)?;
                    tokio::spawn(drive(connection, hear));
                    client
                }
                #[cfg(feature = "rustls")]
                Tls::Rustls(tls) => {
                    let (client, connection) = self.config.connect(tls.clone()).await.map_err(unreachable)?;
                    tokio::spawn(drive(connection, hear));
                    client
                }
            };
            client.batch_execute(&self.settings()).await.map_err(fail)?;
            let asked = Instant::now();
            let row = client
                .query_one("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", &[])
                .await
                .map_err(fail)?;
            self.clock.learn(row.get(0), asked, Instant::now());
            Ok(client)
        };
        let timed = tokio::time::timeout(self.timeout, connecting).await;
        timed.unwrap_or(Err(StoreError::Timeout { context: "connect" }))
    }

    fn settings(&self) -> String {
        // Statements over arrays go row by row through the index, in the order of the arrays: whatever the statistics
        // say. So rows are locked in the order of their keys, and two nodes don't lock each other out. And one plan
        // does for every length, so it is made once. The server gives up before we do: then only the statement has
        // failed, and not the connection with all that goes on it.
        format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; \
             SET enable_material = off; SET enable_bitmapscan = off; SET jit = off; \
             SET plan_cache_mode = force_generic_plan; SET default_transaction_isolation = 'read committed'",
            self.timeout.as_millis() * 9 / 10,
            self.lock_timeout.as_millis(),
            self.timeout.as_millis()
        )
    }
}

/// Whatever is in the way of a connection may be gone a little later.
fn unreachable(error: tokio_postgres::Error) -> StoreError {
    StoreError::unavailable("connect", error)
}

async fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    hear: Option<tokio::sync::mpsc::UnboundedSender<tokio_postgres::Notification>>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(tokio_postgres::AsyncMessage::Notification(notification))) => {
                if let Some(hear) = &hear {
                    let _ = hear.send(notification);
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "session store: a connection ended");
                break;
            }
            None => break,
        }
    }
}

/// A connection's statements.
pub(crate) trait Prepared: Sized + Send {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, tokio_postgres::Error>;
}

pub(crate) async fn prepare(client: &Client, names: &Names, sql: &str) -> Result<Statement, tokio_postgres::Error> {
    client.prepare(&names.render(sql)).await
}

pub(crate) struct Link<P> {
    pub(crate) connector: Arc<Connector>,
    ready: Option<(Client, P)>,
    failed: Option<Failed>,
}

struct Failed {
    until: Instant,
    wait: Duration,
    error: StoreError,
}

impl<P: Prepared> Link<P> {
    pub(crate) fn new(connector: Arc<Connector>) -> Self {
        Self {
            connector,
            ready: None,
            failed: None,
        }
    }

    /// The connection, made if there is none.
    pub(crate) async fn ready(&mut self) -> Result<(&Client, &P), StoreError> {
        if self.ready.as_ref().is_none_or(|(client, _)| client.is_closed()) {
            self.ready = None;
            self.make().await?;
        }
        let (client, statements) = self.ready.as_ref().expect("made just now");
        Ok((client, statements))
    }

    async fn make(&mut self) -> Result<(), StoreError> {
        if let Some(failed) = &self.failed
            && Instant::now() < failed.until
        {
            return Err(failed.error.clone());
        }
        match self.attempt().await {
            Ok(ready) => {
                self.ready = Some(ready);
                self.failed = None;
                Ok(())
            }
            Err(error) => {
                let wait = self
                    .failed
                    .as_ref()
                    .map_or(BACK_OFF.0, |failed| (failed.wait * 2).min(BACK_OFF.1));
                self.failed = Some(Failed {
                    until: Instant::now() + jittered(wait),
                    wait,
                    error: error.clone(),
                });
                Err(error)
            }
        }
    }

    async fn attempt(&self) -> Result<(Client, P), StoreError> {
        let client = self.connector.connect(None).await?;
        let prepared = tokio::time::timeout(self.connector.timeout, P::prepare(&client, &self.connector.names)).await;
        let prepared = prepared.map_err(|_| StoreError::Timeout { context: "prepare" })?;
        let prepared = prepared.map_err(|error| store_error("prepare", error))?;
        Ok((client, prepared))
    }

    /// There is no connection: it was given up, or none could be made.
    pub(crate) fn is_down(&self) -> bool {
        self.ready.is_none()
    }

    /// The connection is gone.
    pub(crate) fn lost(&self) -> bool {
        self.ready.as_ref().is_some_and(|(client, _)| client.is_closed())
    }

    /// What was asked on it was given up, so nobody knows what it is at.
    pub(crate) fn give_up(&mut self) {
        self.ready = None;
    }
}

/// Between half and the whole, by chance: nodes don't come back all at once.
pub(crate) fn jittered(full: Duration) -> Duration {
    let mut chance = [0];
    // Without randomness the wait is the full one.
    let _ = getrandom::fill(&mut chance);
    full - full / 2 * u32::from(chance[0]) / 256
}
