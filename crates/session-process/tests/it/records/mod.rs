//! `SessionRecords` over a store that the tests can hold up, break and look into.

mod access;
mod cache;
mod deleting;
mod faults;
mod limits;
mod replacing;
mod store;
mod updates;

use std::{future::Future, sync::Arc, time::Duration};

use session_process::{
    ManualClock, SessionId,
    records::{Created, NewSession, RecordsBuilder, SessionRecords},
    store::{MemoryStore, Owner, OwnerText, SessionStore, StoreError},
};
use testkit::Gate;
use tokio::task::JoinHandle;

pub(crate) use self::store::Tricky;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A store, its clock, and records on it: "a node".
pub(crate) struct Bench {
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<Tricky>,
    pub(crate) records: SessionRecords,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// Cleanup is off unless the test turns it on: it calls for it.
    pub(crate) fn with(configure: impl FnOnce(RecordsBuilder) -> RecordsBuilder) -> Self {
        let clock = ManualClock::new();
        clock.advance(HOUR);
        let store = Arc::new(Tricky::over(MemoryStore::with_clock(clock.clone())));
        let records = node(&store, &clock, configure);
        Self { clock, store, records }
    }

    /// Another node on the same store.
    pub(crate) fn another(&self) -> SessionRecords {
        node(&self.store, &self.clock, |builder| builder)
    }

    pub(crate) async fn session(&self) -> SessionId {
        self.create(NewSession::for_user("ada").attribute("n", 0)).await.id
    }

    pub(crate) async fn create(&self, new: NewSession) -> Created {
        self.records.create(new).await.unwrap()
    }

    /// The counter `n` as the store has it.
    pub(crate) async fn stored(&self, id: &SessionId) -> Option<u64> {
        let found = self.store.inner.load(&[id.into()]).await.unwrap().pop().flatten();
        found.map(|record| record.attributes["n"].json.parse().unwrap())
    }
}

fn node(
    store: &Arc<Tricky>,
    clock: &ManualClock,
    configure: impl FnOnce(RecordsBuilder) -> RecordsBuilder,
) -> SessionRecords {
    let store: Arc<dyn SessionStore> = Arc::clone(store) as _;
    configure(
        SessionRecords::builder_over(store)
            .clock(clock.clone())
            .cleanup_interval(None),
    )
    .build()
    .unwrap()
}

pub(crate) async fn add(
    records: &SessionRecords,
    id: &SessionId,
) -> Result<u64, session_process::records::UpdateError<session_process::AttributeError>> {
    records
        .update(id, |attributes| {
            attributes.update("n", |n: &mut u64| {
                *n += 1;
                *n
            })
        })
        .await
}

pub(crate) async fn read(records: &SessionRecords, id: &SessionId) -> Option<u64> {
    let found = records.get(id).await.unwrap()?;
    found.get("n").unwrap()
}

pub(crate) fn user(name: &str) -> Owner {
    Owner::User(OwnerText::new(name).unwrap())
}

/// A task that has begun to wait.
pub(crate) async fn begun<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let task = tokio::spawn(task);
    tokio::task::yield_now().await;
    task
}

/// A flush of the accesses that has come to the store, and stops there until the gate opens.
pub(crate) async fn flush_at_gate(bench: &Bench) -> (Gate, JoinHandle<Result<usize, StoreError>>) {
    let gate = bench.store.gate("touch");
    let records = bench.records.clone();
    let flush = begun(async move { records.flush_accesses().await }).await;
    gate.reached().await;
    (gate, flush)
}
