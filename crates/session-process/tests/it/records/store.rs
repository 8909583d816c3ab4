//! A memory store that can be held up, broken and meddled with.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use session_process::{
    Timestamp,
    store::{
        BoxFuture, Change, Changes, Expect, MemoryStore, Notice, Op, Outcome, Owner, Record, Removed, SessionKey,
        SessionStore, StoreError, Touch,
    },
};
use testkit::Gate;
use tokio::sync::{Notify, broadcast};

pub(crate) struct Tricky {
    pub(crate) inner: MemoryStore,
    gates: Mutex<HashMap<&'static str, Gate>>,
    failures: Mutex<HashMap<&'static str, usize>>,
    /// Every edit meets a change by somebody else.
    pub(crate) meddles: AtomicBool,
    /// Notices go nowhere.
    pub(crate) mute: Arc<AtomicBool>,
    deaf: Arc<Notify>,
    said: broadcast::Sender<Notice>,
    pub(crate) loads: AtomicUsize,
    pub(crate) commits: AtomicUsize,
    pub(crate) touches: AtomicUsize,
}

impl Tricky {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self {
            inner,
            gates: Mutex::default(),
            failures: Mutex::default(),
            meddles: AtomicBool::default(),
            mute: Arc::default(),
            deaf: Arc::default(),
            said: broadcast::Sender::new(16),
            loads: AtomicUsize::default(),
            commits: AtomicUsize::default(),
            touches: AtomicUsize::default(),
        }
    }

    /// From now on the store stops at this point: `load`, `loaded`, `commit`, `committed`, `touch`, `delete_expired`,
    /// `locate`.
    pub(crate) fn gate(&self, point: &'static str) -> Gate {
        let gate = Gate::new();
        self.gates.lock().unwrap().insert(point, gate.clone());
        gate
    }

    pub(crate) fn ungate(&self, point: &'static str) {
        if let Some(gate) = self.gates.lock().unwrap().remove(point) {
            gate.open_for_all();
        }
    }

    /// Whoever comes from now on passes; who stands there goes on when the gate opens.
    pub(crate) fn ungate_later(&self, point: &'static str) {
        self.gates.lock().unwrap().remove(point);
    }

    /// The next `times` fail at this point.
    pub(crate) fn fail(&self, point: &'static str, times: usize) {
        self.failures.lock().unwrap().insert(point, times);
    }

    /// The changes can't be heard any more.
    pub(crate) fn end_changes(&self) {
        self.deaf.notify_waiters();
    }

    /// Tells every subscriber.
    pub(crate) fn say(&self, notice: Notice) {
        self.said.send(notice).unwrap();
    }

    async fn at(&self, point: &'static str) -> Result<(), StoreError> {
        let gate = self.gates.lock().unwrap().get(point).cloned();
        if let Some(gate) = gate {
            gate.pass().await;
        }
        let mut failures = self.failures.lock().unwrap();
        match failures.get_mut(point) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Err(StoreError::unavailable(point, "as told"))
            }
            _ => Ok(()),
        }
    }
}

impl SessionStore for Tricky {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn load<'a>(&'a self, keys: &'a [SessionKey]) -> BoxFuture<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move {
            self.loads.fetch_add(1, SeqCst);
            self.at("load").await?;
            let found = self.inner.load(keys).await?;
            self.at("loaded").await?;
            Ok(found)
        })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(async move {
            self.commits.fetch_add(1, SeqCst);
            self.at("commit").await?;
            if self.meddles.load(SeqCst) {
                let meddle = |change: &Change| Change {
                    key: change.key,
                    expect: Expect::default(),
                    op: Op::Edit(Box::default()),
                };
                self.inner.commit(changes.iter().map(meddle).collect()).await?;
            }
            let outcomes = self.inner.commit(changes).await?;
            self.at("committed").await?;
            Ok(outcomes)
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.touches.fetch_add(1, SeqCst);
            self.at("touch").await?;
            self.inner.touch(touches).await
        })
    }

    fn delete_expired(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Removed>, StoreError>> {
        Box::pin(async move {
            self.at("delete_expired").await?;
            self.inner.delete_expired(limit).await
        })
    }

    fn list<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let page = self.inner.list(owner, after, limit).await?;
            self.at("listed").await?;
            Ok(page)
        })
    }

    fn locate<'a>(
        &'a self,
        first_keys: &'a [SessionKey],
    ) -> BoxFuture<'a, Result<Vec<Option<SessionKey>>, StoreError>> {
        Box::pin(async move {
            self.at("locate").await?;
            self.inner.locate(first_keys).await
        })
    }

    fn changes(&self) -> Box<dyn Changes> {
        Box::new(TrickyChanges {
            inner: self.inner.changes(),
            mute: Arc::clone(&self.mute),
            deaf: Arc::clone(&self.deaf),
            said: self.said.subscribe(),
        })
    }
}

struct TrickyChanges {
    inner: Box<dyn Changes>,
    mute: Arc<AtomicBool>,
    deaf: Arc<Notify>,
    said: broadcast::Receiver<Notice>,
}

impl Changes for TrickyChanges {
    fn next(&mut self) -> BoxFuture<'_, Option<Notice>> {
        Box::pin(async move {
            loop {
                let notice = tokio::select! {
                    notice = self.inner.next() => notice,
                    () = self.deaf.notified() => None,
                    said = self.said.recv() => return said.ok(),
                };
                if notice.is_none() || !self.mute.load(SeqCst) {
                    return notice;
                }
            }
        })
    }
}
