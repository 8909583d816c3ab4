//! [`Store`]: the process that holds a reducer's state.
//!
//! An action goes: pace → each middleware's `before` → reducer → each middleware's `after` → history → subscribers →
//! effects → the actions that follow. Up to the history anything may panic, and it is as if the action had never come.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    After, Middleware, Reducer, Refused, Setup,
    effects::Running,
    middleware::Wanted,
    pace::Held,
    past::{Initial, Past, Step},
    subscription::{Subscribers, Unsubscribe},
};
use crate::{Context, Durability, Handle, Init, InitError, Process, Timestamp, clock::Clock, context::send_to_session};

/// The process of a session whose state is a [`Reducer`]'s. See [the module](super).
pub struct Store<R: Reducer> {
    pub(super) past: Past<R>,
    pub(super) subscribers: Subscribers<R>,
    pub(super) running: Running,
    pub(super) held: Held<R::Action>,
    /// `None` before the first message: a store that was read from a snapshot has not seen its engine yet.
    bound: Option<Bound<R>>,
}

/// What a store needs of the engine it lives in.
struct Bound<R: Reducer> {
    setup: Arc<Setup<R>>,
    clock: Clock,
    unsubscribe: Unsubscribe,
    gated: bool,
}

/// What became of an action that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dispatched {
    /// It was applied.
    Applied {
        /// Its position in the history: how many steps there were with it since the store began.
        position: u64,
    },
    /// It is held back by its [`Pace`](super::Pace), and happens later, or is replaced by a newer one.
    Held,
}

impl Dispatched {
    /// Its position in the history, if it was applied.
    #[must_use]
    pub fn position(self) -> Option<u64> {
        match self {
            Self::Applied { position } => Some(position),
            Self::Held => None,
        }
    }
}

/// A state to begin with, for [`Sessions::start_with`](crate::Sessions::start_with). A reset returns to it.
///
/// ```
/// # use session_process::{Sessions, redux::{InitialState, Reducer, Store}};
/// # #[derive(Clone)] struct Counter(i64);
/// # impl Reducer for Counter { type Action = i64; fn reduce(&mut self, n: &i64) { self.0 += n; } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sessions = Sessions::<Store<Counter>>::builder().build()?;
/// # let id = "a".parse()?;
/// sessions.start_with(&id, InitialState::new(Counter(40))).await?;
/// sessions.dispatch(&id, 2).await?;
/// assert_eq!(sessions.state(&id).await?.0, 42);
/// # Ok(()) }
/// ```
pub struct InitialState<R>(Arc<R>);

impl<R> InitialState<R> {
    /// Begins with this state.
    #[must_use]
    pub fn new(state: R) -> Self {
        Self(Arc::new(state))
    }
}

impl<R> Clone for InitialState<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for InitialState<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InitialState")
    }
}

impl<R: Reducer> Process for Store<R> {
    const DURABILITY: Durability<Self> = R::DURABILITY;

    fn snapshot_taken(&mut self) {
        if self.gated() {
            self.subscribers.stage(&self.past.state);
        }
    }

    fn snapshot_durable(&mut self) {
        self.subscribers.publish();
    }

    /// Subscriptions end with the process, which their readers would take for the session's end.
    fn may_sleep(&self) -> bool {
        self.subscribers.is_empty()
    }
}

/// With the reducer's default state.
impl<R: Reducer + Default> Init for Store<R> {
    async fn init((): (), cx: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self::begin(Initial::Default(R::default), cx))
    }
}

/// With a given state.
impl<R: Reducer> Init<InitialState<R>> for Store<R> {
    async fn init(InitialState(state): InitialState<R>, cx: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self::begin(Initial::Given(state), cx))
    }
}

impl<R: Reducer> Store<R> {
    fn begin(initial: Initial<R>, cx: &Context<Self>) -> Self {
        let mut this = Self::of(Past::new(initial, usize::MAX));
        this.bind(cx);
        this
    }

    /// Without an engine yet.
    pub(super) fn of(past: Past<R>) -> Self {
        Self {
            past,
            subscribers: Subscribers::default(),
            running: Running::default(),
            held: Held::default(),
            bound: None,
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &R {
        &self.past.state
    }

    /// Subscribers hear of a state when it is durable.
    fn gated(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound.gated)
    }

    /// Tells subscribers of the state.
    #[inline]
    pub(super) fn tell(&mut self) {
        if !self.gated() {
            self.subscribers.tell(&self.past.state);
        }
    }

    #[inline]
    fn bind(&mut self, cx: &Context<Self>) -> &Bound<R> {
        let past = &mut self.past;
        self.bound.get_or_insert_with(|| {
            let setup = cx.extension::<Setup<R>>().unwrap_or_default();
            past.limit = setup.history;
            past.settle();
            let session = cx.weak();
            Bound {
                setup,
                clock: cx.clock(),
                gated: cx.is_gated(),
                unsubscribe: Arc::new(move |key| send_to_session(&session, Unsubscribed(key))),
            }
        })
    }

    pub(super) fn setup(&mut self, cx: &Context<Self>) -> Arc<Setup<R>> {
        Arc::clone(&self.bind(cx).setup)
    }

    pub(super) fn unsubscribe(&mut self, cx: &Context<Self>) -> Unsubscribe {
        Arc::clone(&self.bind(cx).unsubscribe)
    }

    /// An action from outside.
    #[inline]
    pub(super) fn dispatch(
        &mut self,
        mut action: R::Action,
        cx: &mut Context<Self>,
    ) -> Result<Dispatched, Box<Refused>> {
        if let Some(pace) = self.bind(cx).setup.pace.clone() {
            let pace = catch_unwind(AssertUnwindSafe(|| pace(&action)));
            let pace = pace.map_err(|_| Refused::MiddlewarePanicked { by: "pace" })?;
            if let Some(pace) = pace {
                action = match self.hold(pace, action, cx) {
                    Ok(held) => return Ok(held),
                    Err(action) => action,
                };
            }
        }
        let position = self.run(action, cx)?;
        Ok(Dispatched::Applied { position })
    }

    /// An action whose sender is long gone: an effect's, or one that was held.
    pub(super) fn run_for_nobody(&mut self, action: R::Action, cx: &mut Context<Self>) {
        if let Err(refused) = self.run(action, cx) {
            tracing::debug!(target: "session_process::redux", error = refused.kind(), "an action was refused");
        }
    }

    /// An action and those that follow it. Its position.
    fn run(&mut self, action: R::Action, cx: &mut Context<Self>) -> Result<u64, Box<Refused>> {
        if self.bind(cx).setup.middleware.is_empty() {
            return self.apply(action);
        }
        let mut following = VecDeque::new();
        let position = self.pass(action, &mut following, cx)?;
        let max = self.setup(cx).max_follow_ups;
        let mut followed = 0;
        while let Some(action) = following.pop_front() {
            if followed >= max {
                tracing::error!(
                    target: "session_process::redux",
                    max,
                    "more actions follow one another than may; the rest was dropped"
                );
                break;
            }
            followed += 1;
            if let Err(refused) = self.pass(action, &mut following, cx) {
                tracing::debug!(target: "session_process::redux", error = refused.kind(), "an action was refused");
            }
        }
        Ok(position)
    }

    /// Without middleware.
    #[inline]
    fn apply(&mut self, action: R::Action) -> Result<u64, Box<Refused>> {
        let at = self
            .bound
            .as_ref()
            .map_or(Timestamp::default(), |bound| bound.clock.calendar());
        let applied = self.past.apply(Step::Action(action), at);
        applied.map_err(|_| Box::new(Refused::ReducerPanicked))?;
        let position = self.past.position();
        self.past.settle();
        self.tell();
        Ok(position)
    }

    /// Through all middleware.
    fn pass(
        &mut self,
        mut action: R::Action,
        following: &mut VecDeque<R::Action>,
        cx: &mut Context<Self>,
    ) -> Result<u64, Box<Refused>> {
        let bound = self.bind(cx);
        let (setup, at) = (Arc::clone(&bound.setup), bound.clock.calendar());
        for middleware in &setup.middleware {
            action = before(&**middleware, action, &self.past.state)?;
        }
        let applied = self.past.apply(Step::Action(action), at);
        applied.map_err(|_| Box::new(Refused::ReducerPanicked))?;
        let position = self.past.position();
        let mut wanted = Wanted::default();
        if let Some(action) = self.past.newest() {
            let mut store = After {
                state: &self.past.state,
                position,
                running: &self.running,
                wanted: &mut wanted,
                cx,
            };
            for middleware in &setup.middleware {
                if catch_unwind(AssertUnwindSafe(|| middleware.after(action, &mut store))).is_err() {
                    let by = middleware.name();
                    self.past.back();
                    return Err(Refused::MiddlewarePanicked { by }.into());
                }
            }
        }
        self.past.settle();
        self.tell();
        for (key, work) in wanted.effects {
            match work {
                Some(work) => self.running.start(key, work, cx),
                None => {
                    self.running.cancel(&key, cx);
                }
            }
        }
        following.extend(wanted.actions);
        Ok(position)
    }

    /// Back to the initial state, as a step of its own.
    pub(super) fn reset(&mut self, cx: &Context<Self>) -> Result<u64, super::Error> {
        let at = self.bind(cx).clock.calendar();
        let applied = self.past.apply(Step::Reset, at);
        applied.map_err(|_| super::Error::ReducerPanicked)?;
        let position = self.past.position();
        self.past.settle();
        self.tell();
        Ok(position)
    }
}

fn before<R: Reducer>(middleware: &dyn Middleware<R>, action: R::Action, state: &R) -> Result<R::Action, Box<Refused>> {
    match catch_unwind(AssertUnwindSafe(|| middleware.before(action, state))) {
        Ok(Ok(action)) => Ok(action),
        Ok(Err(reason)) => Err(Box::new(Refused::Rejected {
            by: middleware.name(),
            reason: Arc::from(reason),
        })),
        Err(_) => Err(Box::new(Refused::MiddlewarePanicked { by: middleware.name() })),
    }
}

/// A subscription was dropped.
struct Unsubscribed(u64);

impl<R: Reducer> Handle<Unsubscribed> for Store<R> {
    type Reply = ();
    async fn handle(&mut self, Unsubscribed(key): Unsubscribed, cx: &mut Context<Self>) {
        cx.unchanged();
        self.subscribers.remove(key);
    }
}

/// Without the state, which may be secret.
impl<R: Reducer> fmt::Debug for Store<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("position", &self.past.position())
            .field("first", &self.past.first)
            .field("last", &self.past.last())
            .finish_non_exhaustive()
    }
}
