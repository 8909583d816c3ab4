//! [`Middleware`]: what stands between an action and the reducer. Validation and effects are such; so is
//! [`Logging`](super::Logging).

use std::{any::Any, borrow::Cow, fmt, sync::Arc};

use super::{
    Reducer, Store,
    effects::{EffectFuture, Running},
};
use crate::{Context, PublicHandle};

/// Why a middleware rejects an action: any error, or a text.
pub type Rejection = Box<dyn std::error::Error + Send + Sync>;

/// What stands between an action and the reducer. All middleware of a [`Setup`](super::Setup) sees each action, in
/// order: before it is applied, to pass it on, change or reject it; and after it, to follow it with others or with
/// asynchronous work.
///
/// It is shared by all stores of the engine. If it panics, before or after, the state is as it was before the action.
///
/// ```
/// use session_process::redux::{After, Middleware, Reducer, Rejection};
///
/// # #[derive(Clone, Default)] struct Counter(i64);
/// # impl Reducer for Counter { type Action = i64; fn reduce(&mut self, n: &i64) { self.0 += n; } }
/// /// Changes what is too much, rejects what is nothing, and follows what overflows.
/// struct Odometer;
///
/// impl Middleware<Counter> for Odometer {
///     fn before(&self, n: i64, _counter: &Counter) -> Result<i64, Rejection> {
///         if n == 0 {
///             return Err("no way".into());
///         }
///         Ok(n.min(100))
///     }
///
///     fn after(&self, _n: &i64, store: &mut After<'_, Counter>) {
///         if store.state().0 >= 1000 {
///             store.follow(-1000);
///         }
///     }
/// }
/// ```
pub trait Middleware<R: Reducer>: Send + Sync + 'static {
    /// Stands for it in errors and logs.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Before the action is applied to this state. Returns the action, or another in its place.
    ///
    /// # Errors
    /// The action is rejected, and the next middleware doesn't see it.
    fn before(&self, action: R::Action, state: &R) -> Result<R::Action, Rejection> {
        let _ = state;
        Ok(action)
    }

    /// After the action was applied. Subscribers are told when all middleware is done.
    fn after(&self, action: &R::Action, store: &mut After<'_, R>) {
        let _ = (action, store);
    }
}

/// The store after an action: for a middleware or an effect to follow it. What is asked for here happens when all
/// middleware is done with this action, and not at all if one of them panics.
pub struct After<'a, R: Reducer> {
    pub(super) state: &'a R,
    pub(super) position: u64,
    pub(super) running: &'a Running,
    pub(super) wanted: &'a mut Wanted<R>,
    pub(super) cx: &'a Context<Store<R>>,
}

pub(super) struct Wanted<R: Reducer> {
    pub(super) actions: Vec<R::Action>,
    pub(super) effects: Vec<(Cow<'static, str>, Option<EffectFuture<R>>)>,
}

impl<R: Reducer> Default for Wanted<R> {
    fn default() -> Self {
        Self {
            actions: Vec::new(),
            effects: Vec::new(),
        }
    }
}

impl<R: Reducer> After<'_, R> {
    /// The state after the action.
    #[must_use]
    pub fn state(&self) -> &R {
        self.state
    }

    /// The position of the action in the history.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Stands for the session in logs.
    #[must_use]
    pub fn session(&self) -> PublicHandle {
        self.cx.session_id().public_handle()
    }

    /// A value that the application gave to the builder: [`Context::extension`].
    #[must_use]
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.cx.extension()
    }

    /// Dispatches another action after this one, before anything else is handled. It goes through all middleware; if
    /// it is refused, that is in the log.
    pub fn follow(&mut self, action: impl Into<R::Action>) {
        self.wanted.actions.push(action.into());
    }

    /// Starts asynchronous work. The action it comes to, if any, is dispatched when it is done; the store handles
    /// other messages meanwhile.
    ///
    /// One at a time for each key: another of this key that is under way is cancelled, and never dispatches anything.
    /// All of them are cancelled at the end of the session. A panic in it is in the log, and ends nothing else.
    pub fn start<F, T>(&mut self, key: impl Into<Cow<'static, str>>, work: F)
    where
        F: Future<Output = T> + Send + 'static,
        T: Into<Option<R::Action>>,
    {
        let work: EffectFuture<R> = Box::pin(async move { work.await.into() });
        self.wanted.effects.push((key.into(), Some(work)));
    }

    /// Cancels what was started for this key.
    pub fn cancel(&mut self, key: impl Into<Cow<'static, str>>) {
        self.wanted.effects.push((key.into(), None));
    }

    /// Whether work for this key was under way when the action came.
    #[must_use]
    pub fn is_running(&self, key: &str) -> bool {
        self.running.contains(key)
    }
}

impl<R: Reducer> fmt::Debug for After<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("After")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

pub(super) struct Validation<F>(pub(super) F);

impl<R, F> Middleware<R> for Validation<F>
where
    R: Reducer,
    F: Fn(&R::Action, &R) -> Result<(), Rejection> + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "validation"
    }

    fn before(&self, action: R::Action, state: &R) -> Result<R::Action, Rejection> {
        (self.0)(&action, state).map(|()| action)
    }
}

pub(super) struct Effect<F>(pub(super) F);

impl<R, F> Middleware<R> for Effect<F>
where
    R: Reducer,
    F: Fn(&R::Action, &mut After<'_, R>) + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "effect"
    }

    fn after(&self, action: &R::Action, store: &mut After<'_, R>) {
        (self.0)(action, store);
    }
}
