//! [`Setup`]: what stands around a reducer.

use std::{borrow::Cow, fmt, sync::Arc};

use super::{
    After, Middleware, Pace, Reducer,
    middleware::{Effect, Validation},
};

/// What stands around a reducer: middleware, effects, rates, limits. Given to
/// [`Builder::extension`](crate::Builder::extension), for all stores of this type in the engine; a store without one
/// has the defaults.
///
/// | Limit | Default | Phoenix.SessionProcess | Why |
/// |---|---|---|---|
/// | `history` | 100 steps | 100 | The same. They cost the memory of the actions. |
/// | `max_subscriptions` | 16,384 | none | A session has some dozens of open pages; this is there against a leak. |
/// | `max_follow_ups` | 100 | none | Actions that follow one another this long go round in a circle. |
///
/// ```
/// use session_process::{Sessions, redux::{Reducer, Setup, Store}};
///
/// #[derive(Clone, Default)]
/// struct Counter(i64);
/// impl Reducer for Counter {
///     type Action = i64;
///     fn reduce(&mut self, n: &i64) { self.0 += n; }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let setup = Setup::<Counter>::new()
///     .history(50)
///     .validate(|n, _counter| if *n == 0 { Err("nothing to add".into()) } else { Ok(()) });
/// let sessions = Sessions::<Store<Counter>>::builder().extension(setup).build()?;
/// # let id = "a".parse()?;
/// sessions.start(&id).await?;
/// let refused = sessions.dispatch(&id, 0).await.unwrap_err();
/// assert_eq!(refused.to_string(), "the action was rejected by validation: nothing to add");
/// # Ok(()) }
/// ```
#[must_use = "give it to `Builder::extension`"]
pub struct Setup<R: Reducer> {
    pub(super) middleware: Vec<Arc<dyn Middleware<R>>>,
    pub(super) pace: Option<PaceOf<R>>,
    pub(super) history: usize,
    pub(super) max_subscriptions: usize,
    pub(super) max_follow_ups: usize,
    pub(super) by_name: Vec<Cow<'static, str>>,
    pub(super) unknown: Option<Unknown<R>>,
}

type PaceOf<R> = Arc<dyn Fn(&<R as Reducer>::Action) -> Option<Pace> + Send + Sync>;
type Unknown<R> = Arc<dyn Fn(&str, &serde_json::Value) -> Option<<R as Reducer>::Action> + Send + Sync>;

impl<R: Reducer> Default for Setup<R> {
    fn default() -> Self {
        Self {
            middleware: Vec::new(),
            pace: None,
            history: 100,
            max_subscriptions: 16_384,
            max_follow_ups: 100,
            by_name: Vec::new(),
            unknown: None,
        }
    }
}

impl<R: Reducer> Setup<R> {
    /// The defaults, and nothing around the reducer.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more middleware, after those that are there. All of them see an action before it is applied, in this
    /// order, and after it, in this order again.
    pub fn middleware(mut self, middleware: impl Middleware<R>) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Rejects actions: a middleware of the name `validation`.
    pub fn validate<F>(self, check: F) -> Self
    where
        F: Fn(&R::Action, &R) -> Result<(), super::Rejection> + Send + Sync + 'static,
    {
        self.middleware(Validation(check))
    }

    /// Something to happen after an action was applied: asynchronous work, another action. A middleware of the name
    /// `effect`; see [`After`] for what it can do.
    pub fn effect<F>(self, effect: F) -> Self
    where
        F: Fn(&R::Action, &mut After<'_, R>) + Send + Sync + 'static,
    {
        self.middleware(Effect(effect))
    }

    /// Holds actions back that come too often: see [`Pace`]. What comes from effects and what follows another action
    /// is not held back.
    pub fn pace(mut self, pace: impl Fn(&R::Action) -> Option<Pace> + Send + Sync + 'static) -> Self {
        self.pace = Some(Arc::new(pace));
        self
    }

    /// How many steps the history keeps. With 0 there is no undo; the state before a panic is kept all the same.
    pub fn history(mut self, steps: usize) -> Self {
        self.history = steps;
        self
    }

    /// How many subscriptions a store may have.
    pub fn max_subscriptions(mut self, max: usize) -> Self {
        self.max_subscriptions = max;
        self
    }

    /// How many actions may follow from one dispatch. More are dropped, with an error in the log.
    pub fn max_follow_ups(mut self, max: usize) -> Self {
        self.max_follow_ups = max;
        self
    }

    /// Actions that may come by name, from the network: `"cart.add_item"`, or `"cart.*"` for all below `cart`, or
    /// `"*"`. Without this, none may: an action that only the program itself means to dispatch, such as the result of
    /// an effect, is not for everybody who can send a request. (A name that ends at a slice, `"cart"`, accepts all of
    /// its actions: serde then finds them in the payload.)
    pub fn accept_by_name<N: Into<Cow<'static, str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.by_name.extend(names.into_iter().map(Into::into));
        self
    }

    /// What to do with an action by a name that is unknown, or not accepted. It may be another action, or `None` for
    /// the error.
    pub fn on_unknown<F>(mut self, hook: F) -> Self
    where
        F: Fn(&str, &serde_json::Value) -> Option<R::Action> + Send + Sync + 'static,
    {
        self.unknown = Some(Arc::new(hook));
        self
    }
}

impl<R: Reducer> fmt::Debug for Setup<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middleware: Vec<_> = self.middleware.iter().map(|middleware| middleware.name()).collect();
        f.debug_struct("Setup")
            .field("middleware", &middleware)
            .field("history", &self.history)
            .field("max_subscriptions", &self.max_subscriptions)
            .field("by_name", &self.by_name)
            .finish_non_exhaustive()
    }
}
