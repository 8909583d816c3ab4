//! Loads: one for however many want the same session, and one request for many sessions.
//!
//! # Invariants
//! 1. Whoever waits for a load is answered, also if the store panics or the runtime goes away.
//! 2. A [`Join::Next`] load begins after it was asked for, so it sees all that was committed before.

use std::{
    collections::{HashMap, hash_map},
    mem,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{core::Core, entry::Entry};
use crate::store::{Record, SessionKey, StoreError};

/// Requests to the store at a time. While they are under way, others gather.
const AT_A_TIME: usize = 4;
/// Keys in one request.
const BATCH: usize = 1_000;

/// Which load will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// Also one that has begun.
    Running,
    /// One that begins from now on.
    Next,
}

/// What a load found.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) entry: Option<Arc<Entry>>,
    /// Nothing newer was heard of while it was under way.
    pub(super) current: bool,
}

type Answer = Option<Result<Loaded, StoreError>>;

#[derive(Default)]
pub(super) struct Loads(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: HashMap<SessionKey, watch::Sender<Answer>>,
    running: HashMap<SessionKey, watch::Receiver<Answer>>,
    requests: usize,
}

impl Core {
    /// Asks the store, together with others.
    pub(super) async fn load(self: &Arc<Self>, key: SessionKey, join: Join) -> Result<Loaded, StoreError> {
        let mut answer = {
            let mut state = self.loads.0.lock();
            let running = state.running.get(&key).filter(|_| join == Join::Running);
            match running {
                Some(running) => running.clone(),
                None => match state.waiting.entry(key) {
                    hash_map::Entry::Occupied(waiting) => waiting.get().subscribe(),
                    hash_map::Entry::Vacant(place) => place.insert(watch::Sender::new(None)).subscribe(),
                },
            }
        };
        self.request();
        let answered = answer.wait_for(Option::is_some).await.ok();
        let answered = answered.and_then(|answer| answer.clone());
        answered.unwrap_or(Err(StoreError::Unavailable {
            context: "load",
            source: None,
        }))
    }

    /// Sends a request for what has gathered, unless enough are under way.
    fn request(self: &Arc<Self>) {
        let batch = {
            let mut state = self.loads.0.lock();
            if state.waiting.is_empty() || state.requests >= AT_A_TIME {
                return;
            }
            state.requests += 1;
            let batch: Vec<_> = if state.waiting.len() <= BATCH {
                mem::take(&mut state.waiting).into_iter().collect()
            } else {
                let keys: Vec<SessionKey> = state.waiting.keys().take(BATCH).copied().collect();
                let taken = keys.into_iter().filter_map(|key| state.waiting.remove_entry(&key));
                taken.collect()
            };
            for (key, sender) in &batch {
                state.running.insert(*key, sender.subscribe());
            }
            batch
        };
        let request = Request {
            core: Arc::clone(self),
            batch,
        };
        self.runtime.spawn(request.send());
    }
}

struct Request {
    core: Arc<Core>,
    batch: Vec<(SessionKey, watch::Sender<Answer>)>,
}

impl Request {
    async fn send(self) {
        let keys: Vec<SessionKey> = self.batch.iter().map(|(key, _)| *key).collect();
        let core = &self.core;
        let flights: Vec<_> = keys.iter().map(|key| core.cache.flight(*key)).collect();
        let asked_at = core.backend.now();
        let found = core.backend.load(&keys).await;
        let answers: Vec<Result<Option<Record>, StoreError>> = match found {
            Ok(found) => found.into_iter().map(Ok).collect(),
            // One damaged record must not be in the way of the others.
            Err(error) if !error.is_transient() && keys.len() > 1 => {
                let mut answers = Vec::with_capacity(keys.len());
                for key in &keys {
                    let one = core.backend.load(std::slice::from_ref(key)).await;
                    answers.push(one.map(|mut one| one.pop().flatten()));
                }
                answers
            }
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        };
        for (((_, sender), flight), answer) in self.batch.iter().zip(flights).zip(answers) {
            let loaded = answer.map(|record| {
                let entry = record.map(|record| {
                    let access = core.accesses.of(&record);
                    Arc::new(Entry::new(record, access, asked_at))
                });
                let current = flight.loaded(entry.as_ref());
                Loaded { entry, current }
            });
            sender.send_replace(Some(loaded));
        }
    }
}

/// Also after a panic: then the senders go without an answer, and their callers know.
impl Drop for Request {
    fn drop(&mut self) {
        {
            let mut state = self.core.loads.0.lock();
            state.requests -= 1;
            for (key, sender) in &self.batch {
                let own = |running: &watch::Receiver<Answer>| running.same_channel(&sender.subscribe());
                if state.running.get(key).is_some_and(own) {
                    state.running.remove(key);
                }
            }
        }
        self.core.request();
    }
}
