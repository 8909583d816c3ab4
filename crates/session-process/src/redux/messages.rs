//! The messages that a store handles, and functions that make them: for [`Sessions::call`](crate::Sessions::call), and
//! for whatever else takes messages, such as a request's session.

use std::{
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Error, Reducer, Refused, Store, Subscription,
    past::{OutOfRange, Panicked, Recorded},
    store::Dispatched,
};
use crate::{Context, Handle};

/// Applies an action: [`dispatch`].
pub struct Dispatch<A>(pub(super) A);

/// Applies an action. The reply is `Result<Dispatched, Box<Refused>>`: in a box, as a reply is carried past all that an
/// action passes, and most are not refused.
pub fn dispatch<A>(action: A) -> Dispatch<A> {
    Dispatch(action)
}

impl<R: Reducer> Handle<Dispatch<R::Action>> for Store<R> {
    type Reply = Result<Dispatched, Box<Refused>>;
    async fn handle(&mut self, Dispatch(action): Dispatch<R::Action>, cx: &mut Context<Self>) -> Self::Reply {
        self.dispatch(action, cx)
    }
}

/// Reads from the state: [`select`].
pub struct Select<F>(F);

/// Reads from the state, in the process: only what `select` returns leaves it. The reply is `Result<T, Error>`.
pub fn select<R, T>(select: impl FnOnce(&R) -> T) -> Select<impl FnOnce(&R) -> T> {
    Select(select)
}

impl<R, F, T> Handle<Select<F>> for Store<R>
where
    R: Reducer,
    F: FnOnce(&R) -> T + Send + 'static,
    T: Send + 'static,
{
    type Reply = Result<T, Error>;
    async fn handle(&mut self, Select(select): Select<F>, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        catch_unwind(AssertUnwindSafe(|| select(&self.past.state))).map_err(|_| Error::SelectorPanicked)
    }
}

/// Follows what a function returns for the state: [`subscribe`].
pub struct Subscribe<F, T>(F, PhantomData<fn() -> T>);

/// Follows what `select` returns. The reply is `Result<Subscription<T>, Error>`.
pub fn subscribe<R, T, F: Fn(&R) -> T>(select: F) -> Subscribe<F, T> {
    Subscribe(select, PhantomData)
}

impl<R, F, T> Handle<Subscribe<F, T>> for Store<R>
where
    R: Reducer,
    F: Fn(&R) -> T + Send + 'static,
    T: PartialEq + Clone + Send + 'static,
{
    type Reply = Result<Subscription<T>, Error>;
    async fn handle(&mut self, Subscribe(select, _): Subscribe<F, T>, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        self.admit_subscription(cx)?;
        let unsubscribe = self.unsubscribe(cx);
        let (state, subscribers) = (&self.past.state, &mut self.subscribers);
        catch_unwind(AssertUnwindSafe(|| {
            let now = select(state);
            subscribers.add(select, now, &unsubscribe)
        }))
        .map_err(|_| Error::SelectorPanicked)
    }
}

/// Follows a part of the state: [`subscribe_ref`].
pub struct SubscribeRef<F, T>(F, PhantomData<fn() -> T>);

/// Follows the part of the state that `select` points to; it is cloned only when it has changed. The reply is
/// `Result<Subscription<T>, Error>`.
pub fn subscribe_ref<R, T, F: for<'a> Fn(&'a R) -> &'a T>(select: F) -> SubscribeRef<F, T> {
    SubscribeRef(select, PhantomData)
}

impl<R, F, T> Handle<SubscribeRef<F, T>> for Store<R>
where
    R: Reducer,
    F: for<'a> Fn(&'a R) -> &'a T + Send + 'static,
    T: PartialEq + Clone + Send + 'static,
{
    type Reply = Result<Subscription<T>, Error>;
    async fn handle(&mut self, SubscribeRef(select, _): SubscribeRef<F, T>, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        self.admit_subscription(cx)?;
        let unsubscribe = self.unsubscribe(cx);
        let (state, subscribers) = (&self.past.state, &mut self.subscribers);
        catch_unwind(AssertUnwindSafe(|| {
            let now = select(state).clone();
            subscribers.add_ref(select, now, &unsubscribe)
        }))
        .map_err(|_| Error::SelectorPanicked)
    }
}

impl<R: Reducer> Store<R> {
    fn admit_subscription(&mut self, cx: &Context<Self>) -> Result<(), Error> {
        let max = self.setup(cx).max_subscriptions;
        if !self.subscribers.has_room(max) {
            return Err(Error::TooManySubscriptions { max });
        }
        Ok(())
    }

    fn moved(&mut self) {
        self.tell();
    }

    fn out_of_range(&self, position: u64) -> Error {
        Error::OutOfRange {
            position,
            first: self.past.first,
            last: self.past.last(),
        }
    }
}

/// Moves in the history: [`undo`], [`redo`], [`time_travel`], [`reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travel {
    /// One step back, if there is one.
    Undo,
    /// One step forward again, if there is one.
    Redo,
    /// To a position.
    To(u64),
    /// To the initial state, as a new step that can be undone.
    Reset,
}

/// One step back. The reply of a [`Travel`] is `Result<Option<u64>, Error>`: the position now; `None` if there was
/// nowhere to go.
#[must_use]
pub fn undo() -> Travel {
    Travel::Undo
}

/// One step forward again, after [`undo`].
#[must_use]
pub fn redo() -> Travel {
    Travel::Redo
}

/// To a position in the history. What comes after it stays, until another action is dispatched.
#[must_use]
pub fn time_travel(position: u64) -> Travel {
    Travel::To(position)
}

/// To the initial state, as a step that can be undone.
#[must_use]
pub fn reset() -> Travel {
    Travel::Reset
}

impl<R: Reducer> Handle<Travel> for Store<R> {
    type Reply = Result<Option<u64>, Error>;
    async fn handle(&mut self, travel: Travel, cx: &mut Context<Self>) -> Self::Reply {
        let panicked = |_: Panicked| Error::ReducerPanicked;
        let moved = match travel {
            Travel::Reset => return self.reset(cx).map(Some),
            Travel::Undo => self.past.undo().map_err(panicked)?,
            Travel::Redo => self.past.redo().map_err(panicked)?,
            Travel::To(position) => {
                let travelled = self.past.travel(position);
                travelled.map_err(|_| self.out_of_range(position))?.map_err(panicked)?;
                true
            }
        };
        if !moved {
            return Ok(None);
        }
        self.moved();
        Ok(Some(self.past.position()))
    }
}

/// The state at a position: [`state_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateAt(u64);

/// The state at a position, without going there. The reply is `Result<R, Error>`.
#[must_use]
pub fn state_at(position: u64) -> StateAt {
    StateAt(position)
}

impl<R: Reducer> Handle<StateAt> for Store<R> {
    type Reply = Result<R, Error>;
    async fn handle(&mut self, StateAt(position): StateAt, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        let state = self.past.state_at(position);
        let state: Result<R, Panicked> = state.map_err(|OutOfRange| self.out_of_range(position))?;
        state.map_err(|_| Error::ReducerPanicked)
    }
}

/// The steps that are kept: [`history`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadHistory;

/// The steps that are kept. The reply is a [`History`].
#[must_use]
pub fn history() -> ReadHistory {
    ReadHistory
}

/// The steps that a store keeps, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct History<A> {
    /// The position of the state that the first of these steps was applied to.
    pub first: u64,
    /// Where the state stands. Steps beyond it were undone.
    pub position: u64,
    /// What happened: the step at index `i` led to the position `first + i + 1`.
    pub steps: Vec<Recorded<A>>,
}

impl<R: Reducer> Handle<ReadHistory> for Store<R>
where
    R::Action: Clone,
{
    type Reply = History<R::Action>;
    async fn handle(&mut self, _: ReadHistory, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        History {
            first: self.past.first,
            position: self.past.position(),
            steps: self.past.steps.iter().cloned().collect(),
        }
    }
}

/// Writes a store down: [`export`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export;

/// Writes a store down, as JSON: base, steps, position. The reply is `Result<String, Error>`.
#[must_use]
pub fn export() -> Export {
    Export
}

impl<R> Handle<Export> for Store<R>
where
    R: Reducer + Serialize,
    R::Action: Serialize,
{
    type Reply = Result<String, Error>;
    async fn handle(&mut self, _: Export, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        serde_json::to_string(self).map_err(|error| Error::Unserializable(Arc::new(error)))
    }
}

/// Takes on what another store has exported: [`import`].
#[derive(Clone)]
pub struct Import(String);

/// Takes on what another store, or this one, has exported: state, history and position, in place of its own.
/// Subscriptions go on. The reply is `Result<u64, Error>`: the position.
pub fn import(exported: impl Into<String>) -> Import {
    Import(exported.into())
}

impl<R> Handle<Import> for Store<R>
where
    R: Reducer + DeserializeOwned,
    R::Action: DeserializeOwned,
{
    type Reply = Result<u64, Error>;
    async fn handle(&mut self, Import(exported): Import, cx: &mut Context<Self>) -> Self::Reply {
        let read: Self = serde_json::from_str(&exported).map_err(|error| Error::BadExport(Arc::new(error)))?;
        let limit = self.setup(cx).history;
        self.past = read.past;
        self.past.limit = limit;
        self.past.settle();
        self.moved();
        Ok(self.past.position())
    }
}

/// Cancels an effect: [`cancel`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel(String);

/// Cancels the effect of this key. The reply is whether it was under way.
pub fn cancel(key: impl Into<String>) -> Cancel {
    Cancel(key.into())
}

impl<R: Reducer> Handle<Cancel> for Store<R> {
    type Reply = bool;
    async fn handle(&mut self, Cancel(key): Cancel, cx: &mut Context<Self>) -> bool {
        cx.unchanged();
        self.running.cancel(&key, cx)
    }
}

/// What a store has to do: [`stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadStats;

/// What a store has to do. The reply is a [`StoreStats`].
#[must_use]
pub fn stats() -> ReadStats {
    ReadStats
}

/// Numbers of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// The position of the base of its history.
    pub first: u64,
    /// Where its state stands.
    pub position: u64,
    /// The last position that there is.
    pub last: u64,
    /// Open subscriptions.
    pub subscriptions: usize,
}

impl<R: Reducer> Handle<ReadStats> for Store<R> {
    type Reply = StoreStats;
    async fn handle(&mut self, _: ReadStats, cx: &mut Context<Self>) -> StoreStats {
        cx.unchanged();
        StoreStats {
            first: self.past.first,
            position: self.past.position(),
            last: self.past.last(),
            subscriptions: self.subscribers.len(),
        }
    }
}

// Without what they hold: actions and exports may be secret, and functions print nothing.
macro_rules! opaque {
    ($($name:ident<$($parameter:ident),*>),* $(,)?) => {$(
        impl<$($parameter),*> fmt::Debug for $name<$($parameter),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
opaque!(Dispatch<A>, Select<F>, Subscribe<F, T>, SubscribeRef<F, T>, Import<>);
