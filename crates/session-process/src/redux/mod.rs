//! Redux: a state that changes by actions alone, as a session's process.
//!
//! A [`Reducer`] is written once, and [`Store`] of it is a process: every change has a name and a time, can be undone,
//! looked at, refused, followed and replayed, and open pages subscribe to the part they show.
//!
//! ```
//! use session_process::{SessionId, Sessions, redux::{Reducer, Store}};
//!
//! #[derive(Clone, Default)]
//! struct Counter { value: i64 }
//!
//! #[derive(Clone)]
//! enum CounterAction { Add(i64), Clear }
//!
//! impl Reducer for Counter {
//!     type Action = CounterAction;
//!     fn reduce(&mut self, action: &CounterAction) {
//!         match action {
//!             CounterAction::Add(n) => self.value += n,
//!             CounterAction::Clear => self.value = 0,
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = Sessions::<Store<Counter>>::builder().build()?;
//! let id = SessionId::generate();
//! sessions.start(&id).await?;
//!
//! let mut values = sessions.subscribe(&id, |counter| counter.value).await?;
//! sessions.dispatch(&id, CounterAction::Add(2)).await?;       // awaits
//! sessions.dispatch_later(&id, CounterAction::Add(3))?;       // doesn't
//! assert_eq!(sessions.select(&id, |counter| counter.value).await?, 5);
//! assert_eq!(values.next().await, Some(5));                   // the latest
//!
//! sessions.dispatch(&id, CounterAction::Clear).await?;
//! sessions.undo(&id).await?;
//! sessions.time_travel(&id, 1).await?;
//! assert_eq!(sessions.state(&id).await?.value, 2);
//! assert_eq!(sessions.history(&id).await?.steps.len(), 3);
//! # Ok(()) }
//! ```
//!
//! [`Setup`] puts middleware, effects and rates around it; [`combine!`](combine) makes one reducer of many.

mod by_name;
mod combine;
mod effects;
mod error;
mod logging;
mod messages;
mod middleware;
mod pace;
mod past;
mod reducer;
mod saved;
mod sessions;
mod setup;
mod slot;
mod store;
mod subscription;
mod timeline;

pub use self::{
    by_name::{DispatchByName, action_from_name, dispatch_by_name},
    combine::combine,
    error::{DispatchError, Error, Refused},
    logging::Logging,
    messages::{
        Cancel, Dispatch, Export, History, Import, ReadHistory, ReadStats, Select, StateAt, StoreStats, Subscribe,
        SubscribeRef, Travel, cancel, dispatch, export, history, import, redo, reset, select, state_at, stats,
        subscribe, subscribe_ref, time_travel, undo,
    },
    middleware::{After, Middleware, Rejection},
    pace::Pace,
    past::{Recorded, Step},
    reducer::Reducer,
    setup::Setup,
    slot::SubscriptionEnd,
    store::{Dispatched, InitialState, Store},
    subscription::Subscription,
    timeline::{Cause, Difference, Moment, ReadTimeline, Timeline, timeline},
};
