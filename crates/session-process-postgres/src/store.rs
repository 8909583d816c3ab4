//! [`PostgresStore`]: the store, as its users hold it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use session_process::{
    Timestamp,
    store::{
        BoxFuture, Change, Changes, Channel, Notice, Op, Outcome, Owner, Record, Removed, SessionKey, SessionStore,
        StoreError, Touch,
    },
};
use tokio::sync::{oneshot, watch};

use crate::{
    CacheTrust, Coherence, Health, OpenError, Waiting, attributes,
    builder::Builder,
    changes::Notices,
    channel::Notifications,
    clock::DatabaseClock,
    connection::Connector,
    health::Reach,
    listener::{Listener, Node, Own},
    locks::{self, Ask, Locker},
    names::Names,
    poller::Poller,
    queue::{Queue, Turns},
    reader::{self, FirstKeys, Page, Read, Serving},
    recent::Recent,
    schema,
    sweeper::{Chore, Sweeper},
    writer::{Work, Writer},
};

/// What a change weighs beside its attributes and its snapshot: itself, its place in the queue, its answer.
const CHANGE_WEIGHT: usize = 256;

/// Keys that may wait to be read. Their callers hold a request each; a site that has so many in flight has lost
/// already.
const READS: usize = 100_000;

/// Keeps sessions in PostgreSQL, for as many nodes as use it. A clone is the same store.
///
/// See the [crate's documentation](crate) for what it promises.
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    connector: Arc<Connector>,
    writes: Vec<Arc<Queue<Work>>>,
    reads: Arc<Queue<Read>>,
    chores: Arc<Queue<Chore>>,
    locks: Arc<Queue<Ask>>,
    notices: Arc<Notices>,
    coherence: Coherence,
    closing: watch::Sender<bool>,
    /// Closed when all tasks have ended.
    tasks: watch::Receiver<()>,
}

impl PostgresStore {
    /// Opens the database with the defaults of [`Builder`].
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// The schema is made whole or not at all.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::builder(url)?.open().await
    }

    /// What can be set before the database is opened, beginning with a connection string: a URL
    /// (`postgres://user:password@host/database`) or pairs (`host=… user=…`).
    ///
    /// # Errors
    /// [`OpenError::Url`] if it can't be understood.
    pub fn builder(url: &str) -> Result<Builder, OpenError> {
        url.parse().map(Builder::from_config).map_err(OpenError::Url)
    }

    pub(crate) async fn open_with(builder: Builder) -> Result<Self, OpenError> {
        let names = Names::new(&builder.schema, &builder.prefix)?;
        let coherence = builder.settled_coherence()?;
        let connector = Arc::new(Connector {
            source: builder.source(),
            names,
            clock: DatabaseClock::new(Arc::clone(&builder.shift)),
            timeout: builder.timeout,
            lock_timeout: builder.lock_timeout,
            pooled: builder.pooled,
            recent: Recent::new(builder.recent_bytes),
            connected: watch::Sender::new(0),
            reach: Reach::new(),
        });
        let client = connector.connect().await.map_err(OpenError::Unreachable)?;
        schema::migrate(&client, &connector.names, builder.create_schema, builder.timeout).await?;
        drop(client);

        let own = Own::default();
        let name = |turns| own.name(turns).map_err(OpenError::Unreachable);
        let notices = Arc::new(Notices::new());
        let (closing, closed) = watch::channel(false);
        let (alive, tasks) = watch::channel(());
        let share = builder.queue_bytes / builder.writers.get();
        let inner = Inner {
            connector: Arc::clone(&connector),
            writes: (0..builder.writers.get())
                .map(|_| Arc::new(Queue::new(share)))
                .collect(),
            reads: Arc::new(Queue::new(READS)),
            chores: Arc::new(Queue::new(1_000)),
            locks: Arc::new(Queue::new(locks::WAITING)),
            notices: Arc::clone(&notices),
            coherence,
            closing,
            tasks,
        };
        let until = |task: BoxFuture<'static, ()>| {
            let alive = alive.clone();
            tokio::spawn(async move {
                task.await;
                drop(alive);
            });
        };
        for queue in &inner.writes {
            let node = name(queue.turns())?;
            let writer = Writer::new(Arc::clone(&connector), Arc::clone(&notices), node, own.clone());
            until(Box::pin(writer.run(Arc::clone(queue))));
        }
        let serving = Serving::default();
        for _ in 0..builder.readers.get() {
            let reads = Arc::clone(&inner.reads);
            until(Box::pin(reader::run(Arc::clone(&connector), reads, serving.join())));
        }
        let sweeper = Sweeper {
            connector: Arc::clone(&connector),
            notices: Arc::clone(&notices),
            node: name(inner.chores.turns())?,
            own: own.clone(),
        };
        until(Box::pin(sweeper.run(Arc::clone(&inner.chores))));
        let locker = Locker {
            connector: Arc::clone(&connector),
            notices: Arc::clone(&notices),
            node: name(inner.locks.turns())?,
        };
        until(Box::pin(locker.run(Arc::clone(&inner.locks))));
        let mut changes = inner.notices.subscribe();
        let patience = match coherence {
            Coherence::Listen { interval, patience } => {
                let listener = Listener {
                    at: builder.listens_at().ok_or(OpenError::CannotListen)?,
                    apart: builder.listens_apart(),
                    connector,
                    notices,
                    node: Node::new(Turns::default()).map_err(OpenError::Unreachable)?,
                    own: own.clone(),
                    interval,
                    patience,
                };
                until(Box::pin(listener.run(closed)));
                patience
            }
            Coherence::Poll { interval } => {
                let poller = Poller {
                    connector,
                    notices,
                    interval,
                };
                until(Box::pin(poller.run(closed)));
                builder.timeout
            }
            Coherence::Off => return Ok(Self(Arc::new(inner))),
        };
        // Usually within milliseconds; if not, caches are used later.
        let hearing = async { while !matches!(changes.next().await, Some(Notice::Hearing) | None) {} };
        let _ = tokio::time::timeout(patience, hearing).await;
        Ok(Self(Arc::new(inner)))
    }

    /// How the store is doing. Asks the database, and takes no longer than [`Builder::timeout`].
    ///
    /// For a readiness check: [`Health::is_ready`]. Not for a liveness check: a node whose database is away comes back by
    /// itself, and to start it anew helps nobody.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn health(&self) -> Health {
        let Inner {
            connector,
            notices,
            coherence,
            ..
        } = &*self.0;
        let begun = Instant::now();
        let key = [SessionKey::from_bytes([0; 32])];
        // A reader has as much for itself, after the wait for one.
        let answer = tokio::time::timeout(connector.timeout, self.load(&key)).await;
        let answer = answer.unwrap_or_else(|_| {
            let error = StoreError::Timeout { context: "health" };
            connector.reach.failed(&error);
            Err(error)
        });
        let round_trip = answer.is_ok().then(|| begun.elapsed());
        match &answer {
            // It was not asked, since so many wait to be read. That says nothing of the database, and nodes that leave the
            // balancer leave their load to the others.
            Err(error @ StoreError::Overloaded) => connector.reach.failed(error),
            answer => connector.reach.asked(answer.is_ok()),
        }
        let (database, database_for) = connector.reach.database();
        let (deaf, cache_for) = notices.deaf_for();
        let writes = self.0.writes.iter().map(|queue| queue.waiting());
        let (writes, write_bytes) = writes.fold((0, 0), |sum, queue| (sum.0 + queue.0, sum.1 + queue.1));
        Health {
            database,
            database_for,
            round_trip,
            last_error: connector.reach.last_error(),
            cache: match coherence {
                Coherence::Off => CacheTrust::Off,
                _ if deaf => CacheTrust::Suspect,
                Coherence::Listen { .. } => CacheTrust::Listening,
                Coherence::Poll { .. } => CacheTrust::Polling,
            },
            cache_for,
            waiting: Waiting {
                writes,
                write_bytes,
                reads: self.0.reads.waiting().0,
                locks: self.0.locks.waiting().0,
            },
        }
    }

    /// After what time at the latest a change on another node is seen by a cache on this one, while the database
    /// answers: see [`Coherence`]. `None`: caches are not used.
    #[must_use]
    pub fn staleness_bound(&self) -> Option<Duration> {
        match self.0.coherence {
            Coherence::Listen { interval, patience } => Some(interval + patience),
            Coherence::Poll { interval } => Some(interval),
            Coherence::Off => None,
        }
    }

    /// Has all nodes forget what they have cached: after somebody changed the tables by hand.
    ///
    /// # Errors
    /// If the database can't be told.
    ///
    /// # Cancel safety
    /// It may happen all the same.
    pub async fn clear_caches(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.chores.push(1, Chore::Clear(reply))?;
        self.0.answer(answer).await
    }

    /// Takes up nothing more, finishes what waits and closes the connections. Without it, the same happens in the
    /// background when the last clone is dropped. Afterwards everything answers [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    /// The store closes also when nobody waits for it.
    pub async fn shutdown(&self) {
        self.0.close();
        let mut tasks = self.0.tasks.clone();
        // An error: all of them are gone.
        while tasks.changed().await.is_ok() {}
        self.0.notices.close();
    }

    pub(crate) async fn ask_locks<T>(
        &self,
        ask: Ask,
        answer: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.0.locks.push(1, ask)?;
        self.0.answer(answer).await
    }

    pub(crate) fn notices(&self) -> &Notices {
        &self.0.notices
    }

    fn writer(&self, key: &SessionKey) -> usize {
        // Keys are hashes: any byte is as good as another.
        usize::from(key.as_bytes()[30]) % self.0.writes.len()
    }

    async fn commit_on(&self, writer: usize, changes: Vec<Change>) -> Result<Vec<Outcome>, StoreError> {
        let weight = changes.iter().map(weight).sum();
        let (reply, answer) = oneshot::channel();
        self.0.writes[writer].push(weight, Work::Commit(changes, reply))?;
        self.0.answer(answer).await
    }
}

impl Inner {
    /// What came of it.
    async fn answer<T>(&self, answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
        let answer = answer.await.unwrap_or_else(|_| Err(lost()));
        answer.inspect_err(|error| self.connector.reach.failed(error))
    }

    fn close(&self) {
        self.closing.send_replace(true);
        self.reads.close();
        self.chores.close();
        self.locks.close();
        self.writes.iter().for_each(|queue| queue.close());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
        self.notices.close();
    }
}

/// The task dropped the reply: it panicked, or its runtime ended.
pub(crate) fn lost() -> StoreError {
    StoreError::Unavailable {
        context: "the store's task ended",
        source: None,
    }
}

impl SessionStore for PostgresStore {
    fn now(&self) -> Timestamp {
        self.0.connector.clock.now()
    }

    fn load<'a>(&'a self, keys: &'a [SessionKey]) -> BoxFuture<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let (reply, answer) = oneshot::channel();
            self.0.reads.push(keys.len(), Read::Load(keys.to_vec(), reply))?;
            self.0.answer(answer).await
        })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(async move {
            // On the caller's task: the ones that write have better things to do.
            changes.iter().try_for_each(check)?;
            let Some(first) = changes.first() else {
                return Ok(Vec::new());
            };
            let writer = self.writer(&first.key);
            // What concerns two keys, or several sessions of a user, is in order with its neighbours on one writer.
            let together =
                changes.iter().any(concerns_several) || changes.iter().all(|change| self.writer(&change.key) == writer);
            if together {
                return self.commit_on(writer, changes).await;
            }
            let count = changes.len();
            let mut parts: BTreeMap<usize, (Vec<usize>, Vec<Change>)> = BTreeMap::new();
            for (index, change) in changes.into_iter().enumerate() {
                let (indices, part) = parts.entry(self.writer(&change.key)).or_default();
                indices.push(index);
                part.push(change);
            }
            let mut answers = Vec::with_capacity(parts.len());
            for (writer, (indices, part)) in parts {
                let weight = part.iter().map(weight).sum();
                let (reply, answer) = oneshot::channel();
                self.0.writes[writer].push(weight, Work::Commit(part, reply))?;
                answers.push((indices, answer));
            }
            let mut outcomes: Vec<Option<Outcome>> = (0..count).map(|_| None).collect();
            let mut failed = None;
            for (indices, answer) in answers {
                match self.0.answer(answer).await {
                    Ok(part) => {
                        for (index, outcome) in indices.into_iter().zip(part) {
                            outcomes[index] = Some(outcome);
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            }
            let outcomes: Option<Vec<Outcome>> = outcomes.into_iter().collect();
            outcomes.ok_or_else(|| failed.unwrap_or_else(lost))
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut parts: BTreeMap<usize, Vec<Touch>> = BTreeMap::new();
            for touch in touches {
                parts.entry(self.writer(&touch.key)).or_default().push(touch);
            }
            let mut answers = Vec::with_capacity(parts.len());
            for (writer, part) in parts {
                let weight = part.len() * size_of::<Touch>() + CHANGE_WEIGHT;
                let (reply, answer) = oneshot::channel();
                self.0.writes[writer].push(weight, Work::Touch(part, reply))?;
                answers.push(answer);
            }
            for answer in answers {
                self.0.answer(answer).await?;
            }
            Ok(())
        })
    }

    fn delete_expired(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Removed>, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.0.chores.push(1, Chore::Sweep(limit, reply))?;
            self.0.answer(answer).await
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
            let (reply, answer) = oneshot::channel();
            self.0.reads.push(1, Read::List(page, reply))?;
            self.0.answer(answer).await
        })
    }

    fn locate<'a>(
        &'a self,
        first_keys: &'a [SessionKey],
    ) -> BoxFuture<'a, Result<Vec<Option<SessionKey>>, StoreError>> {
        Box::pin(async move {
            if first_keys.is_empty() {
                return Ok(Vec::new());
            }
            let (reply, answer) = oneshot::channel();
            let keys = FirstKeys(first_keys.to_vec());
            self.0.reads.push(first_keys.len(), Read::Locate(keys, reply))?;
            self.0.answer(answer).await
        })
    }

    fn changes(&self) -> Box<dyn Changes> {
        Box::new(self.0.notices.subscribe())
    }

    fn channel(&self) -> Option<Arc<dyn Channel>> {
        let notices = Arc::clone(&self.0.notices);
        let connector = Arc::clone(&self.0.connector);
        // Elsewhere nothing is heard, and nobody is told.
        let listens = matches!(self.0.coherence, Coherence::Listen { .. });
        listens.then(|| Arc::new(Notifications { notices, connector }) as Arc<dyn Channel>)
    }
}

fn concerns_several(change: &Change) -> bool {
    match &change.op {
        Op::Create(new) => new.limit.is_some(),
        Op::Edit(edit) => edit.limit.is_some(),
        Op::Rotate(_) => true,
        _ => false,
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

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.0.connector.names.schema)
            .field("listening", &!self.0.notices.is_deaf())
            .finish_non_exhaustive()
    }
}
