//! [`Durability`]: whether, and when, the state of a process is written down.

use std::{error::Error as StdError, fmt, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

/// What may go wrong when a state is written or read.
pub type SchemaError = Box<dyn StdError + Send + Sync>;

/// Whether the state of a process outlives it: [`Process::DURABILITY`](crate::Process::DURABILITY).
///
/// A durable process lives in an engine with [records](crate::Builder::records). Its state is a
/// [`Snapshot`](crate::store::Snapshot) in the record of its session. It comes back after a panic, a restart of the
/// program, or a sleep, with the first message.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_process::{Durability, Process, Schema};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart { items: Vec<String> }
///
/// impl Process for Cart {
///     const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("cart", 1));
/// }
/// ```
///
/// Every message is taken for a change of the state, unless its handler says otherwise:
/// [`Context::unchanged`](crate::Context::unchanged).
pub struct Durability<P>(pub(crate) Option<Durable<P>>);

pub(crate) struct Durable<P> {
    pub(crate) schema: Schema<P>,
    pub(crate) pace: Pace,
}

/// When a change is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once, and the reply waits for it.
    Through,
    /// Within this time, and nobody waits for it.
    Behind(Duration),
}

impl<P> Durability<P> {
    /// The state ends with the process: as in Phoenix.SessionProcess.
    pub const VOLATILE: Self = Self(None);

    /// No reply leaves before the state that it reflects is durable. Meanwhile the process handles the next messages,
    /// and what has changed when a write ends goes into the next one: a hundred messages may need two writes.
    ///
    /// If a write fails, all callers whose change it would have made durable get
    /// [`NotSaved`](crate::CallError::NotSaved), and the process goes back to its last durable state.
    #[must_use]
    pub const fn write_through(schema: Schema<P>) -> Self {
        Self(Some(Durable {
            schema,
            pace: Pace::Through,
        }))
    }

    /// Changes are written within this time, many of them as one; replies don't wait. A crash of the program loses the
    /// changes of that time. If a write fails, it is tried again, and the state in memory stays.
    #[must_use]
    pub const fn write_behind(schema: Schema<P>, within: Duration) -> Self {
        Self(Some(Durable {
            schema,
            pace: Pace::Behind(within),
        }))
    }
}

impl<P> fmt::Debug for Durability<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Volatile"),
            Some(Durable { schema, pace }) => f.debug_tuple("Durable").field(schema).field(pace).finish(),
        }
    }
}

/// How the state of a process is written down: a name for its type, a version, and the two ways.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_process::{Durability, Process, Schema};
///
/// #[derive(Serialize, Deserialize)]
/// struct Cart { items: Vec<Item> }
/// #[derive(Serialize, Deserialize)]
/// struct Item { name: String, count: u32 }
///
/// impl Process for Cart {
///     const DURABILITY: Durability<Self> =
///         // In version 1 an item was its name.
///         Durability::write_through(Schema::json("cart", 2).upgrade(|version, bytes| match version {
///             1 => {
///                 #[derive(Deserialize)]
///                 struct Old { items: Vec<String> }
///                 let old: Old = serde_json::from_slice(bytes)?;
///                 let items = old.items.into_iter().map(|name| Item { name, count: 1 });
///                 Ok(Cart { items: items.collect() })
///             }
///             _ => Err("there was no such version".into()),
///         }));
/// }
/// ```
pub struct Schema<P> {
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
    pub(crate) write: fn(&P) -> Result<Vec<u8>, SchemaError>,
    pub(crate) read: fn(&[u8]) -> Result<P, SchemaError>,
    pub(crate) upgrade: fn(u32, &[u8]) -> Result<P, SchemaError>,
}

impl<P: Serialize + DeserializeOwned> Schema<P> {
    /// As JSON, through serde. `kind` names the type in the store, for good: the type itself may be renamed.
    #[must_use]
    pub const fn json(kind: &'static str, version: u32) -> Self {
        Self::with(
            kind,
            version,
            |state| Ok(serde_json::to_vec(state)?),
            |bytes| Ok(serde_json::from_slice(bytes)?),
        )
    }
}

impl<P> Schema<P> {
    /// In an encoding of one's own.
    #[must_use]
    pub const fn with(
        kind: &'static str,
        version: u32,
        write: fn(&P) -> Result<Vec<u8>, SchemaError>,
        read: fn(&[u8]) -> Result<P, SchemaError>,
    ) -> Self {
        Self {
            kind,
            version,
            write,
            read,
            upgrade: |_, _| Err("its type has no `Schema::upgrade` from that version".into()),
        }
    }

    /// Reads what an earlier version of the type has written: the function gets that version and the bytes. Without
    /// it, or where it fails, the snapshot is kept as it is and its session can't be started.
    #[must_use]
    pub const fn upgrade(mut self, upgrade: fn(u32, &[u8]) -> Result<P, SchemaError>) -> Self {
        self.upgrade = upgrade;
        self
    }
}

impl<P> fmt::Debug for Schema<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Why a change is not durable: the source of [`CallError::NotSaved`](crate::CallError::NotSaved), and of an event.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The store failed. The process is back at its last durable state; repeat the message when the store is well.
    #[error("the store failed")]
    Store(#[source] crate::store::StoreError),
    /// Another process of this session, on another node, has written its state meanwhile. This one has taken that
    /// over; repeat the message.
    #[error("the session was changed by another node; repeat")]
    Conflict,
    /// The session was ended or deleted meanwhile.
    #[error("the session is no more")]
    Gone,
    /// The process panicked before the change was written, and is back at its last durable state.
    #[error("the process panicked before the change was written")]
    Crashed,
    /// The state could not be written down: its [`Schema`] failed, or panicked.
    #[error("the state can't be written down: {0}")]
    Schema(String),
}

impl SaveError {
    /// A short stable word, for events and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind(),
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Crashed => "crashed",
            Self::Schema(_) => "schema",
        }
    }
}

/// Why a session could not be brought back from its record: the source of
/// [`StartError::NotLoaded`](crate::StartError::NotLoaded) and [`CallError::NotLoaded`](crate::CallError::NotLoaded).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store failed: it is open whether there is such a session.
    #[error("the store failed")]
    Store(#[source] crate::store::StoreError),
    /// The record holds the state of another type of process. It is kept.
    #[error("the session's state is a {found:?}, not a {expected:?}")]
    Kind {
        /// What is expected.
        expected: &'static str,
        /// What there is.
        found: String,
    },
    /// The state can't be understood: damaged, or of a version that nobody can upgrade from. It is kept.
    #[error("the session's state ({kind:?}, version {version}) can't be read: {error}")]
    Unreadable {
        /// The type that wrote it.
        kind: String,
        /// The version of that type's schema.
        version: u32,
        /// What the reader said.
        error: String,
    },
    /// The first state of a new session could not be saved.
    #[error("the new session could not be saved")]
    Save(#[source] SaveError),
}

impl LoadError {
    /// A short stable word, for events and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind(),
            Self::Kind { .. } => "kind",
            Self::Unreadable { .. } => "unreadable",
            Self::Save(error) => error.kind(),
        }
    }
}
