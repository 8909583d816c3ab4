//! Durable processes over a store that the tests can hold up, break and look into.

mod asleep;
mod behind;
mod broken;
mod gate;
mod midst;
mod nodes;
mod one_life;
mod restart;
mod schema;
mod sleep;
mod stress;
mod styles;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use session_process::{
    Builder, Context, Durability, EndReason, Handle, Init, InitError, ManualClock, Process, Schema, SessionId,
    Sessions,
    records::SessionRecords,
    store::{MemoryStore, Record, SessionKey, SessionStore},
};
use testkit::Gate;

pub(crate) use crate::records::Tricky;
pub(crate) use crate::support::id;

/// Lets the other tasks come to what they have to do.
pub(crate) async fn others_work() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Write-through.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) sum: u64,
}

/// How often something of a process was run.
#[derive(Clone, Default)]
pub(crate) struct Runs {
    pub(crate) inits: Arc<AtomicUsize>,
    pub(crate) hooks: Arc<AtomicUsize>,
}

impl Process for Ledger {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("ledger", 1));

    async fn terminate(&mut self, _: EndReason, cx: &mut Context<Self>) {
        if let Some(runs) = cx.extension::<Runs>() {
            runs.hooks.fetch_add(1, SeqCst);
        }
    }
}

/// Its `init` is by an argument, so that it is counted.
#[derive(Clone)]
pub(crate) struct New;

impl Init<New> for Ledger {
    async fn init(_: New, cx: &mut Context<Self>) -> Result<Self, InitError> {
        if let Some(runs) = cx.extension::<Runs>() {
            runs.inits.fetch_add(1, SeqCst);
        }
        Ok(Self::default())
    }
}

pub(crate) struct Add(pub(crate) u64);

impl Handle<Add> for Ledger {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.sum
    }
}

pub(crate) struct Total;

impl Handle<Total> for Ledger {
    type Reply = u64;
    async fn handle(&mut self, _: Total, cx: &mut Context<Self>) -> u64 {
        cx.unchanged();
        self.sum
    }
}

/// Writes down what the process is at, without a reply that would have to wait.
pub(crate) struct Show(pub(crate) Arc<AtomicU64>);

impl Handle<Show> for Ledger {
    type Reply = ();
    async fn handle(&mut self, Show(here): Show, cx: &mut Context<Self>) {
        cx.unchanged();
        here.store(self.sum, SeqCst);
    }
}

pub(crate) struct Boom;

impl Handle<Boom> for Ledger {
    type Reply = ();
    async fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        self.sum = 1_000_000;
        panic!("as told");
    }
}

/// A node: records and an engine over a store that others may share.
pub(crate) struct Node<P: Process = Ledger> {
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<Tricky>,
    pub(crate) records: SessionRecords,
    pub(crate) runs: Runs,
    pub(crate) sessions: Sessions<P>,
}

impl<P: Process> Node<P> {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(configure: impl FnOnce(Builder<P>) -> Builder<P>) -> Self {
        let clock = ManualClock::new();
        clock.advance(HOUR);
        let store = Arc::new(Tricky::over(MemoryStore::with_clock(clock.clone())));
        Self::over(store, clock, configure)
    }

    /// Another node, or the same after a restart.
    pub(crate) fn again(&self) -> Self {
        Self::over(Arc::clone(&self.store), self.clock.clone(), |builder| builder)
    }

    fn over(store: Arc<Tricky>, clock: ManualClock, configure: impl FnOnce(Builder<P>) -> Builder<P>) -> Self {
        let records = SessionRecords::builder_over(Arc::clone(&store) as Arc<dyn SessionStore>)
            .clock(clock.clone())
            .cleanup_interval(None)
            .build()
            .expect("a runtime");
        let runs = Runs::default();
        let builder = Sessions::<P>::builder()
            .records(records.clone())
            .extension(runs.clone())
            .clock(clock.clone());
        let sessions = configure(builder).build().expect("a runtime");
        Self {
            clock,
            store,
            records,
            runs,
            sessions,
        }
    }

    pub(crate) async fn record(&self, id: &SessionId) -> Option<Record> {
        let keys = [SessionKey::of(id)];
        self.store.inner.load(&keys).await.expect("memory").pop().expect("one")
    }

    /// The state in the store.
    pub(crate) async fn stored(&self, id: &SessionId) -> Option<String> {
        let snapshot = self.record(id).await?.snapshot?;
        Some(String::from_utf8(snapshot.bytes.to_vec()).expect("JSON"))
    }
}

impl Node {
    /// With one session that is started.
    pub(crate) async fn started() -> (Self, SessionId) {
        let node = Self::new();
        let id = id("a");
        assert!(node.sessions.start_with(&id, New).await.unwrap());
        (node, id)
    }

    /// A call in a task.
    pub(crate) fn add(&self, id: &SessionId, n: u64) -> tokio::task::JoinHandle<Result<u64, &'static str>> {
        let (sessions, id) = (self.sessions.clone(), id.clone());
        tokio::spawn(async move { sessions.call(&id, Add(n)).await.map_err(|error| error.kind()) })
    }

    /// The same, with a write that has taken effect. Its answer comes when the gate is opened; whoever writes after it
    /// passes.
    pub(crate) async fn add_unanswered(
        &self,
        id: &SessionId,
        n: u64,
    ) -> (tokio::task::JoinHandle<Result<u64, &'static str>>, Gate) {
        let answer = self.store.gate("committed");
        let writing = self.add(id, n);
        answer.reached().await;
        self.store.ungate_later("committed");
        (writing, answer)
    }

    /// Calls until the process says `sum`, with no error before that.
    pub(crate) async fn comes_to(&self, id: &SessionId, sum: u64) {
        while self.sessions.call(id, Total).await.unwrap() != sum {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the process itself is at `sum`, durable or not.
    pub(crate) async fn is_at(&self, id: &SessionId, sum: u64) {
        let here = Arc::new(AtomicU64::new(u64::MAX));
        while here.load(SeqCst) != sum {
            self.sessions.cast(id, Show(Arc::clone(&here))).unwrap();
            tokio::task::yield_now().await;
        }
    }
}
