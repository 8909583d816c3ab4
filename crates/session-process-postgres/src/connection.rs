//! [`Link`]: one connection, made again when it is lost.
//!
//! # Invariants
//! 1. Whoever finds the connection lost waits for the first attempt to make another. When that has failed, callers are
//!    refused at once, and the link goes on by itself until it has one: nobody queues up behind a connection that isn't
//!    there, and nobody has to ask for it to come back.
//! 2. A link that has its connection again ends the back-off of the others: the database is back for all of them.
//! 3. A connection on which something was given up half-way is never used again.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use session_process::store::StoreError;
use tokio::{sync::mpsc, sync::watch, task::JoinSet, time};
use tokio_postgres::{Config, NoTls, Notification};

pub(crate) use crate::client::{Client, Statement};
use crate::{
    clock::DatabaseClock,
    connect::Connect,
    error::store_error,
    health::{Reach, Seat},
    names::{Names, clock},
    recent::Recent,
};

/// The first wait after a failure, and the longest. A server that restarts is back in less than a second.
pub(crate) const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What the database's clock says.
pub(crate) const CLOCK: &str = concat!("SELECT ", clock!());

/// How connections are made, and what all of them share.
pub(crate) struct Connector {
    pub(crate) source: Source,
    pub(crate) names: Names,
    pub(crate) clock: DatabaseClock,
    pub(crate) timeout: Duration,
    /// How long a row may be locked by somebody else.
    pub(crate) lock_timeout: Duration,
    /// Each transaction may be on another connection to the database.
    pub(crate) pooled: bool,
    pub(crate) recent: Recent,
    /// Counts the connections that were made and work.
    pub(crate) connected: watch::Sender<u64>,
    pub(crate) reach: Arc<Reach>,
}

/// Where connections come from.
pub(crate) enum Source {
    Direct(Box<Direct>),
    Given(Arc<dyn Connect>),
}

/// By a configuration, and from nobody else.
#[derive(Clone)]
pub(crate) struct Direct {
    config: Config,
    tls: Tls,
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

impl Direct {
    /// With what the store sets besides, unless it was set.
    pub(crate) fn new(mut config: Config, tls: Tls, timeout: Duration) -> Self {
        if config.get_application_name().is_none() {
            config.application_name("session-process");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        // A half-open connection is noticed by what is asked on it; this cleans up after it.
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(timeout);
        }
        Self { config, tls }
    }

    /// `hear` is given what the server says of its own accord.
    pub(crate) async fn connect(
        &self,
        hear: Option<mpsc::UnboundedSender<Notification>>,
    ) -> Result<tokio_postgres::Client, StoreError> {
        Ok(match &self.tls {
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
        })
    }
}

impl Connector {
    /// A connection with the settings of the store.
    pub(crate) async fn connect(&self) -> Result<Client, StoreError> {
        let connecting = async {
            let fail = |error| store_error("connect", error);
            let connection = match &self.source {
                Source::Direct(direct) => direct.connect(None).await?.into(),
                Source::Given(connect) => {
                    let connection = connect.connect().await;
                    connection.map_err(|error| StoreError::unavailable("connect", error))?
                }
            };
            let client = if self.pooled {
                // The isolation of a transaction can't be set by a setting within it.
                let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {}", self.settings("SET LOCAL"));
                Client::new(connection, begin.into(), true)
            } else {
                let client = Client::new(connection, "BEGIN".into(), false);
                let isolation = "SET default_transaction_isolation = 'read committed'";
                let settings = format!("{}; {isolation}", self.settings("SET"));
                client.batch_execute(&settings).await.map_err(fail)?;
                client
            };
            let asked = Instant::now();
            if let Some(row) = client.ask(CLOCK, &[]).await.map_err(fail)? {
                self.clock.learn(row.get(0), asked, Instant::now());
            }
            Ok(client)
        };
        let timed = time::timeout(self.timeout, connecting).await;
        timed.unwrap_or(Err(StoreError::Timeout { context: "connect" }))
    }

    /// A connection works: whoever backs off need wait no longer.
    pub(crate) fn works(&self) {
        self.connected.send_modify(|count| *count += 1);
    }

    fn settings(&self, set: &str) -> String {
        // Statements over arrays go row by row through the index, in the order of the arrays: whatever the statistics
        // say. So rows are locked in the order of their keys, and two nodes don't lock each other out. And one plan
        // does for every length, so it is made once. The server gives up before we do: then only the statement has
        // failed, and not the connection with all that goes on it.
        let settings = [
            ("statement_timeout", millis(self.timeout - self.timeout / 10)),
            ("lock_timeout", millis(self.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(self.timeout)),
            ("enable_hashjoin", "off".to_owned()),
            ("enable_mergejoin", "off".to_owned()),
            ("enable_seqscan", "off".to_owned()),
            ("enable_material", "off".to_owned()),
            ("enable_bitmapscan", "off".to_owned()),
            ("jit", "off".to_owned()),
            ("plan_cache_mode", "force_generic_plan".to_owned()),
        ];
        settings
            .map(|(name, value)| format!("{set} {name} = {value}"))
            .join("; ")
    }
}

/// As PostgreSQL takes a limit: 0 would be none, and more than an `int` is refused.
fn millis(limit: Duration) -> String {
    limit.as_millis().clamp(1, i32::MAX as u128).to_string()
}

/// Whatever is in the way of a connection may be gone a little later.
fn unreachable(error: tokio_postgres::Error) -> StoreError {
    StoreError::unavailable("connect", error)
}

async fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    hear: Option<mpsc::UnboundedSender<Notification>>,
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
pub(crate) trait Prepared: Sized + Send + 'static {
    fn prepare(client: &Client, names: &Names) -> impl Future<Output = Result<Self, tokio_postgres::Error>> + Send;
}

pub(crate) async fn prepare(client: &Client, names: &Names, sql: &str) -> Result<Statement, tokio_postgres::Error> {
    client.prepare(names, sql).await
}

pub(crate) struct Link<P> {
    pub(crate) connector: Arc<Connector>,
    state: State<P>,
    seat: Arc<Seat>,
    /// There was a connection before.
    again: bool,
}

enum State<P> {
    /// There is no connection, and nobody tries.
    None,
    Ready(Arc<Client>, P),
    /// A task tries until it has one.
    Connecting {
        task: JoinSet<(Client, P)>,
        /// Why the last attempt failed; `None` as long as the first one is under way.
        failed: watch::Receiver<Option<StoreError>>,
    },
}

impl<P: Prepared> Link<P> {
    pub(crate) fn new(connector: Arc<Connector>) -> Self {
        Self {
            seat: Arc::new(connector.reach.seat()),
            connector,
            state: State::None,
            again: false,
        }
    }

    /// The connection, made if there is none.
    ///
    /// # Errors
    /// What the last attempt came to, at once; of the first attempt after a loss, when that is over.
    ///
    /// # Cancel safety
    /// The attempt goes on.
    pub(crate) async fn ready(&mut self) -> Result<(&Arc<Client>, &P), StoreError> {
        if matches!(&self.state, State::Ready(client, _) if client.is_closed()) {
            self.state = State::None;
            self.seat.is_down();
        }
        if matches!(self.state, State::None) {
            self.connect();
        }
        if let State::Connecting { task, failed } = &mut self.state {
            let made = tokio::select! {
                biased;
                made = task.join_next() => made,
                failed = failed.wait_for(Option::is_some) => {
                    return Err(failed.ok().and_then(|failed| failed.clone()).unwrap_or_else(ended));
                }
            };
            self.made(made)?;
        }
        match &self.state {
            State::Ready(client, statements) => Ok((client, statements)),
            _ => Err(ended()),
        }
    }

    /// Until there is a connection, however often that is tried. Never if nobody tries.
    ///
    /// # Cancel safety
    /// The attempts go on.
    pub(crate) async fn back(&mut self) {
        match &mut self.state {
            State::Connecting { task, .. } => {
                let made = task.join_next().await;
                // An error: the next one who asks begins anew.
                let _ = self.made(made);
            }
            _ => std::future::pending().await,
        }
    }

    fn made(&mut self, made: Option<Result<(Client, P), tokio::task::JoinError>>) -> Result<(), StoreError> {
        self.state = State::None;
        let (client, statements) = made.ok_or_else(ended)?.map_err(|_| ended())?;
        if self.again {
            self.connector.recent.clear();
        }
        self.again = true;
        self.seat.works();
        self.state = State::Ready(Arc::new(client), statements);
        Ok(())
    }

    fn connect(&mut self) {
        let (tell, failed) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(connect(Arc::clone(&self.connector), Arc::clone(&self.seat), tell));
        self.state = State::Connecting { task, failed };
    }

    /// The last attempt to connect has failed, and another one will be made.
    pub(crate) fn is_away(&self) -> bool {
        matches!(&self.state, State::Connecting { failed, .. } if failed.borrow().is_some())
    }

    /// There is no connection: it was given up, or none could be made.
    pub(crate) fn is_down(&self) -> bool {
        !matches!(self.state, State::Ready(..))
    }

    /// The connection is gone.
    pub(crate) fn lost(&self) -> bool {
        matches!(&self.state, State::Ready(client, _) if client.is_closed())
    }

    /// What was asked on it was given up, so nobody knows what it is at.
    pub(crate) fn give_up(&mut self) {
        if !self.is_down() {
            self.state = State::None;
            // Nobody tries to make another before somebody asks, so nothing is known of it.
            self.seat.is_unused();
        }
    }
}

/// The task was taken down with its runtime, or panicked.
fn ended() -> StoreError {
    StoreError::Unavailable {
        context: "connect",
        source: None,
    }
}

/// Tries until there is a connection with its statements.
async fn connect<P: Prepared>(
    connector: Arc<Connector>,
    seat: Arc<Seat>,
    tell: watch::Sender<Option<StoreError>>,
) -> (Client, P) {
    let mut others = connector.connected.subscribe();
    let mut wait = BACK_OFF.0;
    loop {
        others.mark_unchanged();
        match attempt(&connector).await {
            Ok(made) => {
                connector.works();
                seat.works();
                return made;
            }
            Err(error) => {
                seat.is_down();
                connector.reach.failed(&error);
                tell.send_replace(Some(error));
            }
        }
        back_off(&mut others, wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// Waits about so long, or until another connection works.
pub(crate) async fn back_off(others: &mut watch::Receiver<u64>, wait: Duration) {
    // An error: the store is gone, and this will be.
    let _ = time::timeout(jittered(wait), others.changed()).await;
}

async fn attempt<P: Prepared>(connector: &Connector) -> Result<(Client, P), StoreError> {
    let client = connector.connect().await?;
    let prepared = time::timeout(connector.timeout, P::prepare(&client, &connector.names)).await;
    let prepared = prepared.map_err(|_| StoreError::Timeout { context: "prepare" })?;
    let prepared = prepared.map_err(|error| store_error("prepare", error))?;
    Ok((client, prepared))
}

/// Between half and the whole, by chance: nodes don't come back all at once.
pub(crate) fn jittered(full: Duration) -> Duration {
    let mut chance = [0];
    // Without randomness the wait is the full one.
    let _ = getrandom::fill(&mut chance);
    full - full / 2 * u32::from(chance[0]) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_too_short_or_too_long_for_postgresql() {
        let limits = [
            Duration::ZERO,
            Duration::from_micros(999),
            Duration::from_secs(5),
            Duration::MAX,
        ];
        assert_eq!(limits.map(millis), ["1", "1", "5000", "2147483647"]);
    }

    #[test]
    fn what_was_set_stays() {
        let mut config = Config::new();
        let (ours, theirs) = (Duration::from_secs(5), Duration::from_secs(9));
        let timeouts = |direct: Direct| {
            (
                direct.config.get_connect_timeout().copied(),
                direct.config.get_tcp_user_timeout().copied(),
            )
        };
        let set = Direct::new(config.clone(), Tls::None, ours);
        assert_eq!(timeouts(set), (Some(ours), Some(ours)));
        config.connect_timeout(theirs).tcp_user_timeout(theirs);
        let left = Direct::new(config, Tls::None, ours);
        assert_eq!(timeouts(left), (Some(theirs), Some(theirs)));
    }
}
