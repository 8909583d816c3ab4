//! [`Builder`]: what can be set about a store.

use std::{fmt, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use session_process::Timestamp;

use crate::{OpenError, SqliteStore};

/// What a power cut may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Synchronous {
    /// Nothing that was acknowledged. Each group of changes waits until the disk has it (`fsync`).
    #[default]
    Full,
    /// The last changes, acknowledged or not; those before them stay, none is half there. The disk is asked now and
    /// then. A crash of the program, also by `kill -9`, takes nothing.
    Normal,
}

impl Synchronous {
    pub(crate) fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}

pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What can be set about a store, each with a default: [`SqliteStore::builder`].
#[derive(Clone)]
#[must_use = "nothing is opened until `open`"]
pub struct Builder {
    pub(crate) path: PathBuf,
    pub(crate) synchronous: Synchronous,
    pub(crate) busy_timeout: Duration,
    pub(crate) queue_bytes: usize,
    pub(crate) readers: NonZeroUsize,
    pub(crate) watch_interval: Duration,
    pub(crate) clock: Clock,
}

impl Builder {
    pub(crate) fn new(path: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            path,
            synchronous: Synchronous::default(),
            busy_timeout: Duration::from_secs(5),
            queue_bytes: 64 << 20,
            readers: NonZeroUsize::new(cores.min(4)).unwrap_or(NonZeroUsize::MIN),
            watch_interval: Duration::from_millis(100),
            clock: Arc::new(Timestamp::system),
        }
    }

    /// What a power cut may take. [`Synchronous::Full`]: nothing that was acknowledged.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long to wait for a lock that another process holds, before the answer is
    /// [`StoreError::Unavailable`](session_process::store::StoreError::Unavailable). 5 s: longer than any group of
    /// changes takes, shorter than a browser waits.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many bytes of changes may wait for the disk, in attributes, snapshots and 256 for each change besides.
    /// What comes beyond is refused with [`StoreError::Overloaded`](session_process::store::StoreError::Overloaded).
    /// 64 MiB: some seconds of a slow disk. A batch larger than that is taken when nothing else waits.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How many threads read, each on a connection of its own. One for each core, four at the most: a read takes
    /// microseconds, and they also hold what the disk is slow with.
    pub fn readers(mut self, readers: NonZeroUsize) -> Self {
        self.readers = readers;
        self
    }

    /// How often to look whether another process has changed the file, while somebody follows
    /// [`changes`](session_process::store::SessionStore::changes). 100 ms: a look takes microseconds, and no person
    /// notices the delay.
    pub fn watch_interval(mut self, interval: Duration) -> Self {
        self.watch_interval = interval;
        self
    }

    /// Another clock than the system's, for tests. It is called on the threads of the store and by
    /// [`now`](session_process::store::SessionStore::now).
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the file. It is created if it is missing, with its directory, both for the present user alone, and
    /// brought to the present schema if an earlier version made it.
    ///
    /// The time that this takes does not grow with the number of records.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the file.
    ///
    /// # Cancel safety
    /// The file may be open a moment longer, and may have been created.
    pub async fn open(self) -> Result<SqliteStore, OpenError> {
        SqliteStore::open_with(self).await
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("path", &self.path)
            .field("synchronous", &self.synchronous)
            .field("busy_timeout", &self.busy_timeout)
            .field("queue_bytes", &self.queue_bytes)
            .field("readers", &self.readers)
            .field("watch_interval", &self.watch_interval)
            .finish_non_exhaustive()
    }
}
