//! [`Builder`]: what can be set about a store.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use tokio_postgres::Config;

use crate::{
    Connect, OpenError, PostgresStore,
    connection::{Direct, Source, Tls},
    names::Names,
    schema,
};

/// How old a cached value may be where nothing can be heard, unless it is said: two questions a second on a node at rest.
const POLL: Duration = Duration::from_secs(1);

/// How a store learns of what other nodes change: [`Builder::coherence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coherence {
    /// By `LISTEN`, on a connection of its own.
    ///
    /// That it works is proved by a message to itself every `interval`, which must be back within `patience`. So a
    /// cached value is at most `interval + patience` older than what the database has, and that only where a connection
    /// died without a sign; otherwise it is the delivery time of a notification.
    Listen {
        /// From one proof to the next.
        interval: Duration,
        /// How long a proof may take.
        patience: Duration,
    },
    /// By reading again: what is cached is forgotten before it is older than `interval`. For connections on which
    /// `LISTEN` hears nothing: those of a pooler or a pool. A session that is used all the time costs two reads an
    /// `interval`, and reads go together.
    Poll {
        /// The age that nothing that is cached gets beyond.
        interval: Duration,
    },
    /// Not at all: caches stay unused, every read goes to the database. Where there is no use for a cache.
    Off,
}

impl Default for Coherence {
    fn default() -> Self {
        // A second and a half without an answer is a server that users notice too.
        Self::Listen {
            interval: Duration::from_millis(500),
            patience: Duration::from_millis(1_500),
        }
    }
}

/// What can be set about a store, each with a default: [`PostgresStore::builder`].
#[derive(Clone)]
#[must_use = "nothing is opened until `open`"]
pub struct Builder {
    origin: Origin,
    listen: Option<Config>,
    tls: Tls,
    pub(crate) schema: String,
    pub(crate) prefix: String,
    pub(crate) create_schema: bool,
    pub(crate) writers: NonZeroUsize,
    pub(crate) readers: NonZeroUsize,
    pub(crate) queue_bytes: usize,
    pub(crate) recent_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) lock_timeout: Duration,
    coherence: Option<Coherence>,
    pub(crate) pooled: bool,
    pub(crate) shift: Arc<AtomicI64>,
}

#[derive(Clone)]
enum Origin {
    Config(Box<Config>),
    Connect(Arc<dyn Connect>),
}

impl Builder {
    /// From a configuration of tokio-postgres.
    pub fn from_config(config: Config) -> Self {
        Self::new(Origin::Config(Box::new(config)))
    }

    /// With connections that somebody else makes: those of a pool that the application has already, of any kind and
    /// version. The store takes one for each of its [`writers`](Self::writers) and [`readers`](Self::readers) and three
    /// more, seven by default, and keeps them: so the pool must have as many to give besides what the application needs.
    /// Those that it closes leave the pool, which makes others in their place.
    ///
    /// A pool keeps to itself what a connection hears, so caches are kept current by [`Coherence::Poll`], every second, or
    /// by a connection of the store's own: [`listen_with`](Self::listen_with).
    ///
    /// With `deadpool-postgres`:
    ///
    /// ```no_run
    /// use deadpool_postgres::{Object, Pool, PoolError};
    /// use session_process_postgres::{Builder, Connection, OpenError, PostgresStore};
    ///
    /// # async fn open(pool: Pool) -> Result<PostgresStore, OpenError> {
    /// let connect = move || {
    ///     let pool = pool.clone();
    ///     async move {
    ///         let object = pool.get().await?;
    ///         // Not back into the pool: `take` has it leave, and its place there is free.
    ///         Ok::<_, PoolError>(Connection::lent(object, |object| object, |object| drop(Object::take(object))))
    ///     }
    /// };
    /// Builder::from_connect(connect).open().await
    /// # }
    /// ```
    pub fn from_connect(connect: impl Connect) -> Self {
        Self::new(Origin::Connect(Arc::new(connect)))
    }

    fn new(origin: Origin) -> Self {
        Self {
            origin,
            listen: None,
            tls: Tls::None,
            schema: "session_process".to_owned(),
            prefix: String::new(),
            create_schema: true,
            writers: NonZeroUsize::new(2).unwrap_or(NonZeroUsize::MIN),
            readers: NonZeroUsize::new(2).unwrap_or(NonZeroUsize::MIN),
            queue_bytes: 64 << 20,
            recent_bytes: 16 << 20,
            timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_millis(1_500),
            coherence: None,
            pooled: false,
            shift: Arc::default(),
        }
    }

    /// The schema of the tables: `session_process`. Any text of up to 63 bytes.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// What the names of tables, indexes and the sequence begin with: nothing. Any text of up to 47 bytes.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Whether schema and tables are made, and moved forward, when they are missing: yes. If not, run what
    /// [`schema_sql`](Self::schema_sql) says.
    pub fn create_schema(mut self, create: bool) -> Self {
        self.create_schema = create;
        self
    }

    /// How many connections write. 2: while the disk is busy with the group of one, the other gathers its own. The
    /// changes of one session always go through the same. PostgreSQL lets transactions with a notification commit one
    /// at a time, so on a disk whose `fsync` takes milliseconds one connection, with all changes in one group, may do
    /// more than two.
    pub fn writers(mut self, writers: NonZeroUsize) -> Self {
        self.writers = writers;
        self
    }

    /// How many connections read. 2: one group is on its way while the other is worked on.
    pub fn readers(mut self, readers: NonZeroUsize) -> Self {
        self.readers = readers;
        self
    }

    /// How many bytes of changes may wait, in attributes, snapshots and 256 for each change besides; shared by the
    /// writers. What comes beyond is refused with
    /// [`StoreError::Overloaded`](session_process::store::StoreError::Overloaded). 64 MiB: some seconds of a slow disk.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How many bytes of attributes are kept of sessions that were written or read a short while ago: a save of one
    /// of them is one statement, where it otherwise has to read the row first (an attribute that is as it was keeps its
    /// version). No cache to read from, so nothing that it holds can be old. 16 MiB: some 30,000 sessions with a few
    /// attributes. 0: none.
    pub fn recent_bytes(mut self, bytes: usize) -> Self {
        self.recent_bytes = bytes;
        self
    }

    /// How long the database may take for a group, or for a connection. 5 s: longer than any takes that works,
    /// shorter than a browser waits.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long somebody else may keep a row locked, before the changes of that session fail (those of the others go
    /// on). 1.5 s; the store itself holds locks for milliseconds. Longer than `deadlock_timeout` of the server, which is 1 s:
    /// otherwise a deadlock with somebody else's transaction is not found, and tried again, but is such a failure.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// How the store learns of what other nodes change: by `LISTEN` where it can, otherwise by [`Coherence::Poll`], every
    /// second. It can't on connections of a [pooler](Self::behind_pooler) or of [somebody else](Self::from_connect), unless
    /// it may [connect for that](Self::listen_with).
    pub fn coherence(mut self, coherence: Coherence) -> Self {
        self.coherence = Some(coherence);
        self
    }

    /// Whether there is a pooler in transaction mode between the store and the database (PgBouncer of any version): no.
    ///
    /// There, a connection to the database is somebody else's with the next transaction. So the store leaves nothing on it
    /// and expects nothing of it: statements have no names and go with their text, settings go with each transaction that
    /// writes (in the same round trip), locks end with their transaction, and nothing is heard. What is read is not bounded
    /// by the server then, only by [`timeout`](Self::timeout). Statement mode is not enough.
    pub fn behind_pooler(mut self, behind: bool) -> Self {
        self.pooled = behind;
        self
    }

    /// Where the store connects to `LISTEN`, and for nothing else: to the database itself, past the pooler, or beside the
    /// pool. One connection for a node. The proofs that it hears are sent on the connections that write, so a different
    /// database, or one that is no longer the primary, is noticed.
    pub fn listen_with(mut self, config: Config) -> Self {
        self.listen = Some(config);
        self
    }

    /// TLS with this configuration of rustls: which authorities are trusted, and with which provider of cryptography,
    /// is the application's affair. Whether TLS is required says `sslmode` of the connection string. With the feature
    /// `rustls`.
    #[cfg(feature = "rustls")]
    pub fn rustls(mut self, config: rustls::ClientConfig) -> Self {
        self.tls = Tls::Rustls(tokio_postgres_rustls::MakeRustlsConnect::new(config));
        self
    }

    /// Microseconds that are added to the database's clock, for tests. With the feature `testing`.
    #[cfg(feature = "testing")]
    pub fn clock_offset(mut self, micros: Arc<AtomicI64>) -> Self {
        self.shift = micros;
        self
    }

    /// The statements that make the schema, for those who run such things themselves. Each step is taken only if it was not
    /// yet: so they move tables of an older version forward, and those of this version are left alone.
    ///
    /// ```
    /// # fn main() -> Result<(), session_process_postgres::OpenError> {
    /// use session_process_postgres::PostgresStore;
    ///
    /// let sql = PostgresStore::builder("host=localhost")?.schema("web").schema_sql()?;
    /// assert!(sql.contains(r#"CREATE TABLE "web"."session" ("#));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`OpenError::Name`] if a name is too long.
    pub fn schema_sql(&self) -> Result<String, OpenError> {
        let names = Names::new(&self.schema, &self.prefix)?;
        Ok(schema::sql(&names))
    }

    /// Connects, and makes the schema if it is missing.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way.
    ///
    /// # Panics
    /// Outside a tokio runtime. The store's tasks run on the one that it is opened in.
    ///
    /// # Cancel safety
    /// The schema is made whole or not at all.
    pub async fn open(self) -> Result<PostgresStore, OpenError> {
        PostgresStore::open_with(self).await
    }

    fn direct(&self, config: &Config) -> Direct {
        Direct::new(config.clone(), self.tls.clone(), self.timeout)
    }

    pub(crate) fn source(&self) -> Source {
        match &self.origin {
            Origin::Config(config) => Source::Direct(Box::new(self.direct(config))),
            Origin::Connect(connect) => Source::Given(Arc::clone(connect)),
        }
    }

    /// Where it can listen, if it can.
    pub(crate) fn listens_at(&self) -> Option<Direct> {
        match (&self.listen, &self.origin) {
            (Some(config), _) => Some(self.direct(config)),
            (None, Origin::Config(config)) if !self.pooled => Some(self.direct(config)),
            _ => None,
        }
    }

    /// Whether it has a connection of its own for that.
    pub(crate) fn listens_apart(&self) -> bool {
        self.listen.is_some()
    }

    pub(crate) fn settled_coherence(&self) -> Result<Coherence, OpenError> {
        match self.coherence {
            Some(Coherence::Listen { .. }) if self.listens_at().is_none() => Err(OpenError::CannotListen),
            Some(coherence) => Ok(coherence),
            None if self.listens_at().is_some() => Ok(Coherence::default()),
            None => Ok(Coherence::Poll { interval: POLL }),
        }
    }
}

/// Without the connection string, which may hold a password.
impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("schema", &self.schema)
            .field("prefix", &self.prefix)
            .field("create_schema", &self.create_schema)
            .field("tls", &self.tls)
            .field("writers", &self.writers)
            .field("readers", &self.readers)
            .field("queue_bytes", &self.queue_bytes)
            .field("recent_bytes", &self.recent_bytes)
            .field("timeout", &self.timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("coherence", &self.coherence)
            .field("pooled", &self.pooled)
            .finish_non_exhaustive()
    }
}
