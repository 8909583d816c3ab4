//! Updates: the closures of many callers, one after the other, and one commit for those that gathered.
//!
//! Callers of one session take turns at its [`Desk`]. In its turn a closure sees the session as all closures before it
//! left it, committed or about to be. While a commit is under way, the closures that come make the next round.
//!
//! # Invariants
//! 1. A closure's caller is answered when what the closure saw and what it left are committed, never before.
//! 2. A round that doesn't commit takes the next one with it, which was built on it: all of them run again.
//! 3. A turn is a place in a queue: who waits for it waits asynchronously, and a closure that panics gives it up. No
//!    other lock is held while a closure runs.

use std::{mem, sync::Arc, time::Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{core::Core, entry::Entry, error::UpdateError};
use crate::{
    Attributes, Timestamp,
    attributes::Limits,
    events::Event,
    keyed::{At, Keyed},
    store::{
        Attribute, AttributeMap, Change, Changed, Conflict, Edit, Expect, Fence, Op, SessionKey, StoreError, Version,
    },
};

/// Which updates are under way on this node, by session.
pub(super) type Desks = Keyed<SessionKey, Desk>;

type AtDesk = At<SessionKey, Desk>;

#[derive(Default)]
pub(super) struct Desk {
    /// Whose turn it is.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A task commits rounds.
    driven: bool,
    /// What is being committed.
    flying: Option<Flying>,
    /// What gathers meanwhile.
    open: Option<Round>,
}

struct Flying {
    attributes: AttributeMap,
    answer: watch::Receiver<Option<Answer>>,
}

struct Round {
    /// What it was built on; `None`: the round before it.
    base: Option<Arc<Entry>>,
    attributes: AttributeMap,
    callers: usize,
    answer: watch::Sender<Option<Answer>>,
}

#[derive(Clone)]
enum Answer {
    Committed,
    /// Others were first: once more.
    Again,
    Missing,
    Failed(StoreError),
}

/// What one closure did.
struct Ran<T, E> {
    result: Result<T, E>,
    /// The attributes after it, if it changed them and did not refuse.
    left: Option<AttributeMap>,
}

fn run<T, E>(
    closure: &mut impl FnMut(&mut Attributes) -> Result<T, E>,
    found: AttributeMap,
    now: Timestamp,
    limits: Limits,
) -> Result<Ran<T, E>, UpdateError<E>> {
    let mut attributes = Attributes::from_map(found, now).with_limits(limits);
    let before = attributes.clone().into_map();
    let result = closure(&mut attributes);
    let after = attributes.into_map();
    let left = (result.is_ok() && differ(&after, &before)).then_some(after);
    if let Some(left) = &left {
        // A closure could have put other attributes in place of those that it was given, with other limits.
        limits.check(left, &before).map_err(UpdateError::Attribute)?;
    }
    Ok(Ran { result, left })
}

/// Whether there is anything to save. Versions are the store's affair.
fn differ(after: &AttributeMap, before: &AttributeMap) -> bool {
    let same = |((name, one), (other_name, other)): ((_, &Attribute), (_, &Attribute))| {
        name == other_name && one.json == other.json && one.expires_at == other.expires_at
    };
    after.len() != before.len() || !after.iter().zip(before).all(same)
}

impl Core {
    /// Runs the closure in turn and returns when what it did is committed.
    pub(super) async fn update<T, E>(
        self: &Arc<Self>,
        key: SessionKey,
        mut closure: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        let attempts = self.config.update_attempts;
        for _ in 0..attempts {
            let desk = self.desks.at(key);
            let turn = desk.turn.lock().await;
            let under_way = desk.state.lock().latest();
            let (found, base) = match under_way {
                Some(attributes) => (attributes, None),
                None => match self.find(key, Version::default()).await {
                    Ok(Some(entry)) => (entry.record.attributes.clone(), Some(entry)),
                    Ok(None) => return Err(UpdateError::Missing),
                    Err(error) => return Err(UpdateError::Store(error)),
                },
            };
            let ran = run(&mut closure, found, self.now(), self.config.attributes)?;
            let saves = ran.left.is_some();
            let answer = match ran.left {
                Some(left) => Some(self.hand_in(key, &desk, base, left)),
                None => desk.state.lock().answer(),
            };
            drop(turn);
            // Whatever it saw is committed, and nothing is to be.
            let Some(mut answer) = answer else {
                return ran.result.map_err(UpdateError::Refused);
            };
            let answered = answer.wait_for(Option::is_some).await.ok();
            match answered.and_then(|answer| answer.clone()) {
                Some(Answer::Committed) => return ran.result.map_err(UpdateError::Refused),
                Some(Answer::Again) => {}
                // What it saw is not so. It had nothing to save itself.
                Some(Answer::Failed(_)) if !saves => {}
                Some(Answer::Missing) => return Err(UpdateError::Missing),
                Some(Answer::Failed(error)) => return Err(UpdateError::Store(error)),
                None => {
                    return Err(UpdateError::Store(StoreError::Unavailable {
                        context: "update",
                        source: None,
                    }));
                }
            }
        }
        Err(UpdateError::Contended { attempts })
    }

    /// Runs the closure once, if the session has this version.
    pub(super) async fn update_version<T, E>(
        self: &Arc<Self>,
        key: SessionKey,
        version: Version,
        mut closure: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        let desk = self.desks.at(key);
        let turn = desk.turn.lock().await;
        let entry = self.find(key, version).await.map_err(UpdateError::Store)?;
        let entry = entry.ok_or(UpdateError::Missing)?;
        let found = entry.record.version;
        if found != version {
            return Err(UpdateError::Changed { version: found });
        }
        let ran = run(
            &mut closure,
            entry.record.attributes.clone(),
            self.now(),
            self.config.attributes,
        )?;
        if let Some(left) = ran.left {
            let change = Change {
                key,
                expect: Self::expect(&entry),
                op: set(left, None),
            };
            let outcome = self.commit(change, Some(entry)).await.map_err(UpdateError::Store)?;
            drop(turn);
            match outcome {
                Ok(done) => self.saved(key, &done.changed, 1, None),
                Err(Conflict::Version { version, .. }) => {
                    self.conflicted(key, 1);
                    return Err(UpdateError::Changed { version });
                }
                Err(Conflict::Epoch { .. }) => return Err(UpdateError::Contended { attempts: 1 }),
                Err(_) => return Err(UpdateError::Missing),
            }
        }
        ran.result.map_err(UpdateError::Refused)
    }

    /// Runs the closure in turn, and commits what it did by itself, under the lock.
    pub(super) async fn update_under<T, E>(
        self: &Arc<Self>,
        key: SessionKey,
        fence: Fence,
        mut closure: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        let desk = self.desks.at(key);
        // As long as we have the turn no round begins, so of this node at most the one that flies is first.
        let _turn = desk.turn.lock().await;
        let attempts = self.config.update_attempts;
        for _ in 0..attempts {
            let found = self.find(key, Version::default()).await.map_err(UpdateError::Store)?;
            let entry = found.ok_or(UpdateError::Missing)?;
            let found = entry.record.attributes.clone();
            let ran = run(&mut closure, found, self.now(), self.config.attributes)?;
            let Some(left) = ran.left else {
                return ran.result.map_err(UpdateError::Refused);
            };
            let change = Change {
                key,
                expect: Self::expect(&entry),
                op: set(left, Some(fence)),
            };
            match self.commit(change, Some(entry)).await.map_err(UpdateError::Store)? {
                Ok(done) => {
                    self.saved(key, &done.changed, 1, None);
                    return ran.result.map_err(UpdateError::Refused);
                }
                Err(Conflict::Version { .. } | Conflict::Epoch { .. }) => self.conflicted(key, 1),
                Err(Conflict::Fence { .. }) => return Err(UpdateError::LockLost),
                Err(_) => return Err(UpdateError::Missing),
            }
        }
        Err(UpdateError::Contended { attempts })
    }

    /// Runs the closure and puts all attributes in place of what anybody else has written meanwhile.
    pub(super) async fn overwrite<T, E>(
        self: &Arc<Self>,
        key: SessionKey,
        mut closure: impl FnMut(&mut Attributes) -> Result<T, E>,
    ) -> Result<T, UpdateError<E>> {
        let desk = self.desks.at(key);
        let _turn = loop {
            let turn = desk.turn.lock().await;
            let Some(found) = desk.state.lock().latest() else {
                break turn;
            };
            // What is under way here is no stranger's: this goes with it. Written over it, it would conflict with this
            // and be made again, on top of what it has left here.
            let ran = run(&mut closure, found, self.now(), self.config.attributes)?;
            let Some(left) = ran.left else {
                return ran.result.map_err(UpdateError::Refused);
            };
            let mut answer = self.hand_in(key, &desk, None, left);
            drop(turn);
            let answered = answer.wait_for(Option::is_some).await.ok();
            match answered.and_then(|answer| answer.clone()) {
                Some(Answer::Committed) => return ran.result.map_err(UpdateError::Refused),
                Some(Answer::Missing) => return Err(UpdateError::Missing),
                Some(Answer::Failed(error)) => return Err(UpdateError::Store(error)),
                Some(Answer::Again) | None => {}
            }
        };
        let entry = self.find(key, Version::default()).await.map_err(UpdateError::Store)?;
        let found = entry.ok_or(UpdateError::Missing)?.record.attributes.clone();
        let ran = run(&mut closure, found, self.now(), self.config.attributes)?;
        if let Some(left) = ran.left {
            let change = Change {
                key,
                expect: Expect::default(),
                op: set(left, None),
            };
            match self.commit(change, None).await.map_err(UpdateError::Store)? {
                Ok(done) => self.saved(key, &done.changed, 1, None),
                Err(_) => return Err(UpdateError::Missing),
            }
        }
        ran.result.map_err(UpdateError::Refused)
    }

    fn hand_in(
        self: &Arc<Self>,
        key: SessionKey,
        desk: &AtDesk,
        base: Option<Arc<Entry>>,
        attributes: AttributeMap,
    ) -> watch::Receiver<Option<Answer>> {
        let mut state = desk.state.lock();
        let round = state.open.get_or_insert_with(|| Round {
            base,
            attributes: AttributeMap::new(),
            callers: 0,
            answer: watch::Sender::new(None),
        });
        round.attributes = attributes;
        round.callers += 1;
        let answer = round.answer.subscribe();
        let is_driven = mem::replace(&mut state.driven, true);
        // Before the task begins: a runtime that is shutting down drops it at once, and its driver takes the lock.
        drop(state);
        if !is_driven {
            let driver = Driver {
                core: Arc::clone(self),
                desk: self.desks.at(key),
                done: false,
            };
            self.runtime.spawn(driver.drive());
        }
        answer
    }

    pub(super) fn saved(&self, key: SessionKey, changed: &Changed, updates: usize, since: Option<Instant>) {
        let version = changed.version;
        self.events.emit(|| Event::RecordSaved {
            key,
            version,
            updates,
            took: since.map(|since| since.elapsed()).unwrap_or_default(),
        });
    }

    pub(super) fn conflicted(&self, key: SessionKey, updates: usize) {
        self.events.emit(|| Event::RecordConflicted { key, updates });
    }
}

impl State {
    /// What a closure in its turn sees, if it is not what was committed last.
    fn latest(&self) -> Option<AttributeMap> {
        let open = self.open.as_ref().map(|round| &round.attributes);
        open.or(self.flying.as_ref().map(|flying| &flying.attributes)).cloned()
    }

    /// What becomes of that.
    fn answer(&self) -> Option<watch::Receiver<Option<Answer>>> {
        match (&self.open, &self.flying) {
            (Some(round), _) => Some(round.answer.subscribe()),
            (None, Some(flying)) => Some(flying.answer.clone()),
            (None, None) => None,
        }
    }
}

/// Commits rounds until there is none.
struct Driver {
    core: Arc<Core>,
    desk: AtDesk,
    done: bool,
}

impl Driver {
    async fn drive(mut self) {
        let mut last: Option<Arc<Entry>> = None;
        while let Some(round) = self.next().await {
            let base = round.base.clone().or_else(|| last.take());
            let (answer, entry) = self.commit(&round, base).await;
            last = entry;
            if last.is_none() {
                self.give_back_next().await;
            }
            round.answer.send_replace(Some(answer));
        }
    }

    /// The round that gathered. It is what flies from now on.
    async fn next(&mut self) -> Option<Round> {
        let _turn = self.desk.turn.lock().await;
        let mut state = self.desk.state.lock();
        let round = state.open.take();
        state.flying = round.as_ref().map(|round| Flying {
            attributes: round.attributes.clone(),
            answer: round.answer.subscribe(),
        });
        if round.is_none() {
            state.driven = false;
            self.done = true;
        }
        round
    }

    /// What was built on a round that came to nothing.
    async fn give_back_next(&self) {
        let _turn = self.desk.turn.lock().await;
        let mut state = self.desk.state.lock();
        state.flying = None;
        if let Some(round) = state.open.take() {
            round.answer.send_replace(Some(Answer::Again));
        }
    }

    async fn commit(&self, round: &Round, base: Option<Arc<Entry>>) -> (Answer, Option<Arc<Entry>>) {
        let Some(base) = base else {
            return (Answer::Again, None);
        };
        let (core, key) = (&self.core, self.desk.key);
        let change = Change {
            key,
            expect: Core::expect(&base),
            op: set(round.attributes.clone(), None),
        };
        let since = core.events.listened().then(Instant::now);
        match core.commit_here(change, Some(base)).await {
            Ok(Ok(done)) => {
                core.saved(key, &done.changed, round.callers, since);
                (Answer::Committed, done.entry)
            }
            Ok(Err(Conflict::Version { .. } | Conflict::Epoch { .. })) => {
                core.conflicted(key, round.callers);
                (Answer::Again, None)
            }
            Ok(Err(_)) => (Answer::Missing, None),
            Err(error) => (Answer::Failed(error), None),
        }
    }
}

/// A driver that panicked, or whose runtime went away, leaves nobody waiting.
impl Drop for Driver {
    fn drop(&mut self) {
        if !self.done {
            *self.desk.state.lock() = State::default();
        }
    }
}

fn set(attributes: AttributeMap, fence: Option<Fence>) -> Op {
    Op::Edit(Box::new(Edit {
        attributes: Some(attributes),
        fence,
        ..Edit::default()
    }))
}
