//! A memory store that can be held up, broken and meddled with.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use session_process::store::{BoxFuture, Change, Changes, Expect, MemoryStore, Notice, Op, SessionStore, StoreError};
use testkit::{Asked, Gate, Hooked, Hooks};
use tokio::sync::{Notify, broadcast};

pub(crate) type Tricky = Hooked<MemoryStore, Tricks>;

pub(crate) struct Tricks {
    gates: Mutex<HashMap<&'static str, Gate>>,
    failures: Mutex<HashMap<&'static str, usize>>,
    panics: Mutex<Option<&'static str>>,
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

impl Default for Tricks {
    fn default() -> Self {
        Self {
            gates: Mutex::default(),
            failures: Mutex::default(),
            panics: Mutex::default(),
            meddles: AtomicBool::default(),
            mute: Arc::default(),
            deaf: Arc::default(),
            said: broadcast::Sender::new(16),
            loads: AtomicUsize::default(),
            commits: AtomicUsize::default(),
            touches: AtomicUsize::default(),
        }
    }
}

impl Tricks {
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

    /// The next at this point panics.
    pub(crate) fn panic_at(&self, point: &'static str) {
        *self.panics.lock().unwrap() = Some(point);
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
        let panics = self.panics.lock().unwrap().take_if(|panics| *panics == point);
        assert_eq!(panics, None, "as told");
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

impl Hooks for Tricks {
    async fn before(&self, asked: Asked, changes: &[Change], inner: &dyn SessionStore) -> Result<(), StoreError> {
        let point = match asked {
            Asked::Load => {
                self.loads.fetch_add(1, SeqCst);
                "load"
            }
            Asked::Commit => {
                self.commits.fetch_add(1, SeqCst);
                "commit"
            }
            Asked::Touch => {
                self.touches.fetch_add(1, SeqCst);
                "touch"
            }
            Asked::DeleteExpired => "delete_expired",
            Asked::Locate => "locate",
            Asked::List => return Ok(()),
        };
        self.at(point).await?;
        if asked == Asked::Commit && self.meddles.load(SeqCst) {
            let meddle = |change: &Change| Change {
                key: change.key,
                expect: Expect::default(),
                op: Op::Edit(Box::default()),
            };
            inner.commit(changes.iter().map(meddle).collect()).await?;
        }
        Ok(())
    }

    async fn after(&self, asked: Asked) -> Result<(), StoreError> {
        match asked {
            Asked::Load => self.at("loaded").await,
            Asked::Commit => self.at("committed").await,
            Asked::List => self.at("listed").await,
            Asked::Touch | Asked::DeleteExpired | Asked::Locate => Ok(()),
        }
    }

    fn changes(&self, inner: Box<dyn Changes>) -> Box<dyn Changes> {
        Box::new(TrickyChanges {
            inner,
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
