//! [`Reducer`]: a state, and what an action makes of it.

use super::Store;
use crate::Durability;

/// A state that changes by actions alone.
///
/// `reduce` is **pure**: what comes out depends on the state and the action, and on nothing else. No clock, no random
/// numbers, no input or output; those belong into an effect, which brings them in by an action. That is what makes
/// undo, time travel and the repair after a panic possible: any state is the base of the history with its actions
/// applied again.
///
/// `Clone` is for time travel, and for the base that is kept; no dispatch, selection or subscription clones a state.
///
/// ```
/// use session_process::redux::Reducer;
///
/// #[derive(Clone, Default)]
/// struct Counter { value: i64 }
///
/// enum CounterAction { Add(i64), Clear }
///
/// impl Reducer for Counter {
///     type Action = CounterAction;
///
///     fn reduce(&mut self, action: &CounterAction) {
///         match action {
///             CounterAction::Add(n) => self.value += n,
///             CounterAction::Clear => self.value = 0,
///         }
///     }
/// }
/// ```
///
/// Reducers of slices are put together with [`combine!`](crate::redux::combine).
pub trait Reducer: Clone + Send + Sync + 'static {
    /// What can happen to the state. Kept in the history, and so a value that stands for itself.
    type Action: Send + 'static;

    /// Whether the store with this reducer is durable: its state, and the history with it. Needs serde for the state
    /// and for the actions.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use session_process::{Durability, Schema, redux::{Reducer, Store}};
    /// #[derive(Clone, Default, Serialize, Deserialize)]
    /// struct Counter(i64);
    ///
    /// impl Reducer for Counter {
    ///     type Action = i64;
    ///     const DURABILITY: Durability<Store<Self>> = Durability::write_through(Schema::json("counter", 1));
    ///     fn reduce(&mut self, n: &i64) {
    ///         self.0 += n;
    ///     }
    /// }
    /// ```
    const DURABILITY: Durability<Store<Self>> = Durability::VOLATILE;

    /// Applies an action. If it panics, the state is as it was before.
    fn reduce(&mut self, action: &Self::Action);
}
