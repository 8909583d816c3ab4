//! A [`Store`] written down: base, steps and position. For a snapshot of the process, and for export and import.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    Reducer, Store,
    past::{Initial, Past, Recorded},
};

const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Saved<'a, R, A> {
    format: u32,
    first: u64,
    cursor: usize,
    base: &'a R,
    /// `None`: the same as `base`.
    initial: Option<R>,
    steps: &'a VecDeque<Recorded<A>>,
}

#[derive(Deserialize)]
struct Restored<R, A> {
    format: u32,
    first: u64,
    cursor: usize,
    base: R,
    initial: Option<R>,
    steps: VecDeque<Recorded<A>>,
}

impl<R> Serialize for Store<R>
where
    R: Reducer + Serialize,
    R::Action: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Past {
            base,
            initial,
            steps,
            first,
            cursor,
            ..
        } = &self.past;
        let saved = Saved {
            format: FORMAT,
            first: *first,
            cursor: *cursor,
            base,
            initial: (*first > 0).then(|| initial.make()),
            steps,
        };
        saved.serialize(serializer)
    }
}

/// The state is made anew from the base and the steps, so a reducer that has changed since makes another one of them.
impl<'de, R> Deserialize<'de> for Store<R>
where
    R: Reducer + Deserialize<'de>,
    R::Action: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Restored {
            format,
            first,
            cursor,
            base,
            initial,
            steps,
        } = Restored::<R, R::Action>::deserialize(deserializer)?;
        if format != FORMAT {
            return Err(D::Error::custom(format_args!(
                "format {format} of a store; this library knows {FORMAT}"
            )));
        }
        let initial = Initial::Given(Arc::new(initial.unwrap_or_else(|| base.clone())));
        // All of the steps, until the store learns of its limit.
        match Past::restore(initial, base, steps, first, cursor, usize::MAX) {
            Some(Ok(past)) => Ok(Self::of(past)),
            Some(Err(_)) => Err(D::Error::custom("the reducer panics at these actions")),
            None => Err(D::Error::custom("the position is not in the history")),
        }
    }
}
