//! [`Past`]: a state with the actions that led to it.
//!
//! # Invariants
//! 1. `state` is `base` with the steps before `cursor` applied, in order. The steps from `cursor` on were undone.
//! 2. A position is the number of steps since the store began. That of `base` is `first`; positions are not
//!    renumbered when the oldest steps are given up.
//! 3. A step that panics changes nothing.
//!
//! # What it costs
//! Two copies of the state, and the actions. The base is behind by the whole history: when a step leaves it, the base
//! takes that step, so from then on every action is reduced twice (once for the state, once for the base), and nothing
//! is ever cloned on the way.

use std::{collections::VecDeque, panic::resume_unwind, sync::Arc};

use super::Reducer;
use crate::{Timestamp, engine::caught};

/// Where a store begins, and returns to by a reset.
pub(super) enum Initial<R> {
    Default(fn() -> R),
    Given(Arc<R>),
}

impl<R: Clone> Initial<R> {
    pub(super) fn make(&self) -> R {
        match self {
            Self::Default(make) => make(),
            Self::Given(state) => R::clone(state),
        }
    }
}

/// What happened, and when.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Recorded<A> {
    /// By the clock of [`Context::now`](crate::Context::now).
    pub at: Timestamp,
    /// What it was.
    pub step: Step<A>,
}

/// Something that changes a state.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step<A> {
    /// An action.
    Action(A),
    /// A return to the initial state.
    Reset,
}

/// The reducer panicked.
#[derive(Debug)]
pub(super) struct Panicked;

#[derive(Debug)]
pub(super) struct OutOfRange;

pub(super) struct Past<R: Reducer> {
    pub(super) state: R,
    pub(super) base: R,
    pub(super) initial: Initial<R>,
    pub(super) steps: VecDeque<Recorded<R::Action>>,
    pub(super) first: u64,
    pub(super) cursor: usize,
    /// How many steps are kept.
    pub(super) limit: usize,
    /// What a new step put an end to, until that step is settled.
    undone: VecDeque<Recorded<R::Action>>,
}

impl<R: Reducer> Past<R> {
    pub(super) fn new(initial: Initial<R>, limit: usize) -> Self {
        let state = initial.make();
        Self {
            base: state.clone(),
            state,
            initial,
            steps: VecDeque::new(),
            first: 0,
            cursor: 0,
            limit,
            undone: VecDeque::new(),
        }
    }

    /// One that was written down. `None`: it makes no sense. An `Err` if the reducer panics at it.
    pub(super) fn restore(
        initial: Initial<R>,
        base: R,
        steps: VecDeque<Recorded<R::Action>>,
        first: u64,
        cursor: usize,
        limit: usize,
    ) -> Option<Result<Self, Panicked>> {
        // Half of the numbers are enough for 292 years with one action each nanosecond.
        if cursor > steps.len() || first > u64::MAX / 2 {
            return None;
        }
        let mut this = Self {
            state: base.clone(),
            base,
            initial,
            steps,
            first,
            cursor,
            limit,
            undone: VecDeque::new(),
        };
        Some(this.replay(cursor).map(|state| {
            this.state = state;
            this.settle();
            this
        }))
    }

    /// Where the state stands.
    pub(super) fn position(&self) -> u64 {
        self.first + self.cursor as u64
    }

    /// The latest position there is: greater than [`position`](Self::position) after an undo.
    pub(super) fn last(&self) -> u64 {
        self.first + self.steps.len() as u64
    }

    /// Takes a step. It can be taken [`back`](Self::back) until it is [`settled`](Self::settle).
    #[inline]
    pub(super) fn apply(&mut self, step: Step<R::Action>, at: Timestamp) -> Result<(), Panicked> {
        if step_on(&mut self.state, &step, &self.initial).is_err() {
            self.repair();
            return Err(Panicked);
        }
        if self.cursor < self.steps.len() {
            self.undone = self.steps.split_off(self.cursor);
        }
        self.steps.push_back(Recorded { at, step });
        self.cursor += 1;
        Ok(())
    }

    /// The step that was just applied, for those who look at it.
    pub(super) fn newest(&self) -> Option<&R::Action> {
        match &self.steps.get(self.cursor.checked_sub(1)?)?.step {
            Step::Action(action) => Some(action),
            Step::Reset => None,
        }
    }

    /// Takes back the step that was just applied: as if it had never been.
    pub(super) fn back(&mut self) {
        self.steps.pop_back();
        self.cursor -= 1;
        self.steps.append(&mut self.undone);
        self.repair();
    }

    /// The step that was just applied stands.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !self.undone.is_empty() {
            self.undone = VecDeque::new();
        }
        if self.steps.len() > self.limit {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        while self.steps.len() > self.limit && self.cursor > 0 {
            let Some(oldest) = self.steps.pop_front() else { return };
            self.cursor -= 1;
            self.first += 1;
            if step_on(&mut self.base, &oldest.step, &self.initial).is_err() {
                // It went well before, so this reducer is not pure. What it made of the base is worth nothing.
                self.first += self.cursor as u64;
                self.steps.drain(..self.cursor);
                self.cursor = 0;
                self.base = self.state.clone();
            }
        }
        // What was undone, and is more than may be kept.
        self.steps.truncate(self.limit.max(self.cursor));
    }

    /// The state at a position.
    pub(super) fn state_at(&self, position: u64) -> Result<Result<R, Panicked>, OutOfRange> {
        let steps = self.index(position)?;
        Ok(self.replay(steps))
    }

    /// Puts the state to a position.
    pub(super) fn travel(&mut self, position: u64) -> Result<Result<(), Panicked>, OutOfRange> {
        let cursor = self.index(position)?;
        Ok(self.replay(cursor).map(|state| {
            self.state = state;
            self.cursor = cursor;
        }))
    }

    pub(super) fn undo(&mut self) -> Result<bool, Panicked> {
        let Some(cursor) = self.cursor.checked_sub(1) else {
            return Ok(false);
        };
        self.state = self.replay(cursor)?;
        self.cursor = cursor;
        Ok(true)
    }

    pub(super) fn redo(&mut self) -> Result<bool, Panicked> {
        let Some(next) = self.steps.get(self.cursor) else {
            return Ok(false);
        };
        if step_on(&mut self.state, &next.step, &self.initial).is_err() {
            self.repair();
            return Err(Panicked);
        }
        self.cursor += 1;
        Ok(true)
    }

    /// Calls `look` for each position from the base on, with its state and the step that led there.
    pub(super) fn walk(&self, mut look: impl FnMut(u64, Option<&Recorded<R::Action>>, &R)) -> Result<(), Panicked> {
        let mut state = self.base.clone();
        look(self.first, None, &state);
        for (position, recorded) in (self.first + 1..).zip(&self.steps) {
            step_on(&mut state, &recorded.step, &self.initial)?;
            look(position, Some(recorded), &state);
        }
        Ok(())
    }

    fn index(&self, position: u64) -> Result<usize, OutOfRange> {
        let steps = position.checked_sub(self.first).ok_or(OutOfRange)?;
        let steps = usize::try_from(steps).map_err(|_| OutOfRange)?;
        if steps > self.steps.len() {
            return Err(OutOfRange);
        }
        Ok(steps)
    }

    fn replay(&self, steps: usize) -> Result<R, Panicked> {
        let mut state = self.base.clone();
        for recorded in self.steps.iter().take(steps) {
            step_on(&mut state, &recorded.step, &self.initial)?;
        }
        Ok(state)
    }

    /// A panic left the state half changed: makes it anew.
    fn repair(&mut self) {
        match self.replay(self.cursor) {
            Ok(state) => self.state = state,
            // The reducer panics at what it did well before. Nothing here can be relied on: the process crashes, and
            // its restart policy decides.
            Err(Panicked) => resume_unwind(Box::new("a reducer that is not pure panicked at its own history")),
        }
    }
}

#[inline]
fn step_on<R: Reducer>(state: &mut R, step: &Step<R::Action>, initial: &Initial<R>) -> Result<(), Panicked> {
    caught(|| match step {
        Step::Action(action) => state.reduce(action),
        Step::Reset => *state = initial.make(),
    })
    .map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Log(Vec<u8>);

    impl Reducer for Log {
        type Action = u8;
        fn reduce(&mut self, action: &u8) {
            self.0.push(*action);
            assert!(*action != 0, "as told");
        }
    }

    #[derive(Debug, Clone)]
    enum Do {
        Dispatch(u8),
        TakenBack(u8),
        Reset,
        Undo,
        Redo,
        Travel(u64),
    }

    fn anything() -> impl Strategy<Value = Do> {
        prop_oneof![
            4 => any::<u8>().prop_map(|n| Do::Dispatch(n % 8)),
            1 => (1..8u8).prop_map(Do::TakenBack),
            1 => Just(Do::Reset),
            2 => Just(Do::Undo),
            2 => Just(Do::Redo),
            1 => (0..40u64).prop_map(Do::Travel),
        ]
    }

    proptest! {
        /// Beside a model that keeps every state.
        #[test]
        fn any_walk_through_the_past_is_that_of_a_list_of_states(
            walk in proptest::collection::vec(anything(), 0..60),
            limit in 0..6usize,
        ) {
            let mut past = Past::new(Initial::Default(Log::default), limit);
            // States by position, from `first` on.
            let (mut states, mut first, mut at) = (vec![Log::default()], 0usize, 0usize);
            for act in walk {
                match act {
                    Do::Dispatch(n) => {
                        let applied = past.apply(Step::Action(n), Timestamp::default());
                        prop_assert_eq!(applied.is_err(), n == 0);
                        if n != 0 {
                            past.settle();
                            let mut next = states[at].clone();
                            next.0.push(n);
                            states.truncate(at + 1);
                            states.push(next);
                            at += 1;
                        }
                    }
                    Do::TakenBack(n) => {
                        past.apply(Step::Action(n), Timestamp::default()).unwrap();
                        past.back();
                    }
                    Do::Reset => {
                        past.apply(Step::Reset, Timestamp::default()).unwrap();
                        past.settle();
                        states.truncate(at + 1);
                        states.push(Log::default());
                        at += 1;
                    }
                    Do::Undo => {
                        prop_assert_eq!(past.undo().unwrap(), at > 0);
                        at = at.saturating_sub(1);
                    }
                    Do::Redo => {
                        let there_is = at + 1 < states.len();
                        prop_assert_eq!(past.redo().unwrap(), there_is);
                        at += usize::from(there_is);
                    }
                    Do::Travel(position) => {
                        let index = (position as usize).checked_sub(first).filter(|i| *i < states.len());
                        prop_assert_eq!(past.travel(position).is_ok(), index.is_some());
                        at = index.unwrap_or(at);
                    }
                }
                while states.len() - 1 > limit {
                    states.remove(0);
                    first += 1;
                    at -= 1;
                }
                prop_assert_eq!(&past.state, &states[at]);
                prop_assert_eq!(past.position(), (first + at) as u64);
                prop_assert_eq!(past.last(), (first + states.len() - 1) as u64);
                for (index, state) in states.iter().enumerate() {
                    let there = past.state_at((first + index) as u64).unwrap().unwrap();
                    prop_assert_eq!(&there, state);
                }
                prop_assert!(past.state_at((first + states.len()) as u64).is_err());
            }
        }
    }
}
