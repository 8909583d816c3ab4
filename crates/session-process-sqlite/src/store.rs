//! [`SqliteStore`]: the store, as its users hold it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rusqlite::Connection;
use session_process::{
    Timestamp,
    store::{
        BoxFuture, Change, Changes, Op, Outcome, Owner, Record, Removed, SessionKey, SessionStore, StoreError, Touch,
    },
};
use tokio::sync::{oneshot, watch};

use crate::{
    OpenError, attributes,
    builder::{Builder, Clock},
    changes::Notices,
    connection::{open_reader, open_writer},
    queue::{Queue, Refused},
    reader::{self, Page, Read},
    writer::{Swept, Work, Writer},
};

/// What a change weighs beside its attributes and its snapshot: itself, its place in the queue, its answer.
const CHANGE_WEIGHT: usize = 256;

/// Reads that may wait. Their callers hold a request each; a site that has so many in flight has lost already.
const READS: usize = 100_000;

/// Keeps sessions in one SQLite file. A clone is the same store.
///
/// See the [crate's documentation](crate) for what it promises.
#[derive(Clone)]
pub struct SqliteStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    clock: Clock,
    writes: Arc<Queue<Work>>,
    reads: Arc<Queue<Read>>,
    notices: Arc<Notices>,
    /// Closed when all threads have ended and the file is closed.
    threads: watch::Receiver<()>,
}

impl SqliteStore {
    /// Opens the file with the defaults of [`Builder`]; it is created if it is missing.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the file.
    ///
    /// # Cancel safety
    /// The file may be open a moment longer, and may have been created.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::builder(path).open().await
    }

    /// What can be set before the file is opened.
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(path.into())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Takes up nothing more, finishes what waits, works the log into the file and closes it.
    ///
    /// It is not needed for durability: what was acknowledged is in the file, or in the log beside it, which the next
    /// opening reads. Without it, the same happens in the background when the last clone is dropped. Afterwards
    /// everything answers [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    /// The store closes also when nobody waits for it.
    pub async fn shutdown(&self) {
        self.0.close();
        let mut threads = self.0.threads.clone();
        // An error: all of them are gone.
        while threads.changed().await.is_ok() {}
    }

    pub(crate) async fn open_with(builder: Builder) -> Result<Self, OpenError> {
        let (opened, reply) = oneshot::channel();
        let (alive, threads) = watch::channel(());
        let writes = Arc::new(Queue::new(builder.queue_bytes));
        let reads = Arc::new(Queue::new(READS));
        let notices = Arc::new(Notices::new());
        // Dropped with the future too, so an opening that was given up ends its threads.
        let store = Self(Arc::new(Inner {
            path: builder.path.clone(),
            clock: Arc::clone(&builder.clock),
            writes: Arc::clone(&writes),
            reads: Arc::clone(&reads),
            notices: Arc::clone(&notices),
            threads,
        }));
        let write = move || {
            let connections = connections(&builder);
            let (connection, readers) = match connections {
                Ok(connections) => connections,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let writer = Writer {
                connection,
                queue: writes,
                notices,
                clock: Arc::clone(&builder.clock),
                watch_interval: builder.watch_interval,
            };
            for reader in readers {
                if let Err(error) = read(reader, &reads, &builder.clock, &alive) {
                    return drop(opened.send(Err(OpenError::Threads(error))));
                }
            }
            drop(opened.send(Ok(())));
            writer.run();
            drop(alive);
        };
        thread::Builder::new()
            .name("sessions-writer".into())
            .spawn(write)
            .map_err(OpenError::Threads)?;
        match reply.await {
            Ok(result) => result.map(|()| store),
            Err(_) => Err(OpenError::Threads(std::io::Error::other(
                "the thread that writes panicked",
            ))),
        }
    }
}

fn connections(builder: &Builder) -> Result<(Connection, Vec<Connection>), OpenError> {
    let writer = open_writer(builder)?;
    let readers = (0..builder.readers.get())
        .map(|_| open_reader(builder))
        .collect::<Result<_, _>>()?;
    Ok((writer, readers))
}

fn read(
    connection: Connection,
    queue: &Arc<Queue<Read>>,
    clock: &Clock,
    alive: &watch::Sender<()>,
) -> std::io::Result<()> {
    let (queue, clock, alive) = (Arc::clone(queue), Arc::clone(clock), alive.clone());
    let run = move || {
        reader::run(&connection, &queue, &clock);
        drop(connection);
        drop(alive);
    };
    thread::Builder::new()
        .name("sessions-reader".into())
        .spawn(run)
        .map(drop)
}

impl Inner {
    fn close(&self) {
        self.reads.close();
        self.writes.close();
    }

    async fn write<T>(
        &self,
        weight: usize,
        work: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Work,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.writes.push(weight, work(reply)).map_err(refused)?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn read<T>(
        &self,
        read: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Read,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.reads.push(1, read(reply)).map_err(refused)?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn refused(refused: Refused) -> StoreError {
    match refused {
        Refused::Full => StoreError::Overloaded,
        Refused::Closed => StoreError::Unavailable {
            context: "it was shut down",
            source: None,
        },
    }
}

/// The thread dropped the reply, which it does when it panics.
fn lost() -> StoreError {
    StoreError::failed(
        "a thread of the store panicked",
        "the panic's message is on the standard error stream",
    )
}

impl SessionStore for SqliteStore {
    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    fn load<'a>(&'a self, keys: &'a [SessionKey]) -> BoxFuture<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            self.0.read(|reply| Read::Load(keys.to_vec(), reply)).await
        })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(async move {
            if changes.is_empty() {
                return Ok(Vec::new());
            }
            // On the caller's thread: the one that writes has better things to do.
            changes.iter().try_for_each(check)?;
            let weight = changes.iter().map(weight).sum();
            self.0.write(weight, |reply| Work::Commit(changes, reply)).await
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if touches.is_empty() {
                return Ok(());
            }
            let weight = touches.len() * size_of::<Touch>() + CHANGE_WEIGHT;
            self.0.write(weight, |reply| Work::Touch(touches, reply)).await
        })
    }

    fn delete_expired(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Removed>, StoreError>> {
        Box::pin(async move {
            let mut removed = Vec::new();
            // Slice by slice: what others have to write goes in between.
            while removed.len() < limit {
                let rest = limit - removed.len();
                let Swept { removed: slice, more } =
                    self.0.write(CHANGE_WEIGHT, |reply| Work::Sweep(rest, reply)).await?;
                removed.extend(slice);
                if !more {
                    break;
                }
            }
            Ok(removed)
        })
    }

    fn list<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let page = Page {
                owner: owner.clone(),
                after,
                limit,
            };
            self.0.read(|reply| Read::List(page, reply)).await
        })
    }

    fn locate<'a>(
        &'a self,
        first_keys: &'a [SessionKey],
    ) -> BoxFuture<'a, Result<Vec<Option<SessionKey>>, StoreError>> {
        Box::pin(async move {
            let keys = first_keys.to_vec();
            self.0.read(|reply| Read::Locate(keys, reply)).await
        })
    }

    fn changes(&self) -> Box<dyn Changes> {
        let subscription = self.0.notices.subscribe();
        // The writer watches the file for other processes from now on.
        self.0.writes.nudge();
        Box::new(subscription)
    }
}

fn check(change: &Change) -> Result<(), StoreError> {
    match &change.op {
        Op::Create(new) => attributes::check(&new.attributes),
        Op::Edit(edit) => edit.attributes.as_ref().map_or(Ok(()), attributes::check),
        _ => Ok(()),
    }
}

fn weight(change: &Change) -> usize {
    let (attributes, snapshot) = match &change.op {
        Op::Create(new) => (Some(&new.attributes), new.snapshot.as_ref()),
        Op::Edit(edit) => (
            edit.attributes.as_ref(),
            edit.snapshot.as_ref().and_then(Option::as_ref),
        ),
        _ => (None, None),
    };
    let attributes = attributes
        .into_iter()
        .flatten()
        .map(|(name, attribute)| name.len() + attribute.json.len());
    CHANGE_WEIGHT + attributes.sum::<usize>() + snapshot.map_or(0, |snapshot| snapshot.bytes.len())
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}
