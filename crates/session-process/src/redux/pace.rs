//! [`Pace`]: throttle and debounce.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use super::{Reducer, Store, store::Dispatched};
use crate::{Context, Handle, TaskKey};

/// How often an action may happen. Those with one key share one pace. See [`Setup::pace`](super::Setup::pace).
///
/// ```
/// # use std::time::Duration;
/// # use session_process::redux::{Pace, Reducer, Setup};
/// # #[derive(Clone, Default)] struct Page;
/// # enum Action { Search(String), Scroll(u32), Buy }
/// # impl Reducer for Page { type Action = Action; fn reduce(&mut self, _: &Action) {} }
/// let setup = Setup::<Page>::new().pace(|action| match action {
///     // When nothing was typed for 300 ms, the last of it.
///     Action::Search(_) => Some(Pace::debounce("search", Duration::from_millis(300))),
///     // The first at once, and then the latest once a second.
///     Action::Scroll(_) => Some(Pace::throttle("scroll", Duration::from_secs(1))),
///     Action::Buy => None,
/// });
/// # drop(setup);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    key: Cow<'static, str>,
    kind: Kind,
    time: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Debounce,
    Throttle,
}

impl Pace {
    /// Holds an action until none of this key has come for `quiet`; only the last of them happens. While they keep
    /// coming, none does.
    pub fn debounce(key: impl Into<Cow<'static, str>>, quiet: Duration) -> Self {
        let (key, time, kind) = (key.into(), quiet, Kind::Debounce);
        Self { key, kind, time }
    }

    /// Lets an action happen at once, and then at most one of this key in each `period`: the latest of those that
    /// came, at its end.
    pub fn throttle(key: impl Into<Cow<'static, str>>, period: Duration) -> Self {
        let (key, time, kind) = (key.into(), period, Kind::Throttle);
        Self { key, kind, time }
    }
}

/// Actions that are held, by key.
pub(super) struct Held<A> {
    by_key: HashMap<Cow<'static, str>, Waiting<A>>,
    last: u64,
}

impl<A> Default for Held<A> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            last: 0,
        }
    }
}

struct Waiting<A> {
    number: u64,
    timer: TaskKey,
    pace: Pace,
    action: Option<A>,
}

/// The time of a key is over.
pub(super) struct Due {
    key: Cow<'static, str>,
    number: u64,
}

impl<R: Reducer> Store<R> {
    /// Holds an action, or returns it if it may happen now.
    pub(super) fn hold(
        &mut self,
        pace: Pace,
        action: R::Action,
        cx: &mut Context<Self>,
    ) -> Result<Dispatched, R::Action> {
        let waits = self.held.by_key.contains_key(&pace.key);
        match (pace.kind, waits) {
            (Kind::Throttle, false) => {
                self.wait(pace, None, cx);
                return Err(action);
            }
            (Kind::Throttle, true) => {
                let waiting = self.held.by_key.get_mut(&pace.key);
                waiting.expect("it waits").action = Some(action);
            }
            (Kind::Debounce, _) => {
                if let Some(before) = self.held.by_key.remove(&pace.key) {
                    cx.cancel(before.timer);
                }
                self.wait(pace, Some(action), cx);
            }
        }
        Ok(Dispatched::Held)
    }

    fn wait(&mut self, pace: Pace, action: Option<R::Action>, cx: &mut Context<Self>) {
        self.held.last += 1;
        let number = self.held.last;
        let key = pace.key.clone();
        let timer = cx.send_after(pace.time, Due { key, number });
        let waiting = Waiting {
            number,
            timer,
            pace,
            action,
        };
        self.held.by_key.insert(waiting.pace.key.clone(), waiting);
    }
}

impl<R: Reducer> Handle<Due> for Store<R> {
    type Reply = ();
    async fn handle(&mut self, due: Due, cx: &mut Context<Self>) {
        // Of a timer that was cancelled when it had just gone off, the number is another.
        let is_due = |waiting: &Waiting<R::Action>| waiting.number == due.number;
        if !self.held.by_key.get(&due.key).is_some_and(is_due) {
            return;
        }
        let Some(Waiting { pace, action, .. }) = self.held.by_key.remove(&due.key) else {
            return;
        };
        if let Some(action) = action {
            if pace.kind == Kind::Throttle {
                self.wait(pace, None, cx);
            }
            self.run_for_nobody(action, cx);
        }
    }
}
