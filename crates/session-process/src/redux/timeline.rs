//! [`Timeline`]: all that happened in a store, for a page that shows it.

use serde::Serialize;
use serde_json::Value;

use super::{Error, Reducer, Step, Store};
use crate::{Context, Handle, SessionId, Sessions, Timestamp};

/// What happened in a store: each step that is kept with its time, the state that it led to, and what that changed. A
/// value for a page of a developer's to show; `shop` has one. It holds whatever the state and the actions hold, so it
/// is not for everybody.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Timeline {
    /// Where the state stands. Moments beyond it were undone.
    pub position: u64,
    /// From the base of the history to its last step.
    pub moments: Vec<Moment>,
}

/// One step, and the state it led to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Moment {
    /// Its position in the history: what [`time_travel`](Sessions::time_travel) takes.
    pub position: u64,
    /// When it happened, in microseconds since the Unix epoch. `None` for the base.
    pub at: Option<Timestamp>,
    /// What it was.
    pub cause: Cause,
    /// The state after it.
    pub state: Value,
    /// What is different from the moment before.
    pub changes: Vec<Difference>,
}

/// What led to a [`Moment`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// It is the oldest that is kept.
    Base,
    /// An action, as serde writes it.
    Action(Value),
    /// A return to the initial state.
    Reset,
}

/// One place in which two states differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// Where, as a JSON Pointer (RFC 6901); empty for the state as a whole.
    pub path: String,
    /// What was there. Absent (not `null`) if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there now. Absent if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// All that happened: [`timeline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTimeline;

/// All that happened, for a page to show. The reply is `Result<Timeline, Error>`.
#[must_use]
pub fn timeline() -> ReadTimeline {
    ReadTimeline
}

impl<R> Handle<ReadTimeline> for Store<R>
where
    R: Reducer + Serialize,
    R::Action: Serialize,
{
    type Reply = Result<Timeline, Error>;
    async fn handle(&mut self, _: ReadTimeline, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        self.timeline()
    }
}

impl<R> Store<R>
where
    R: Reducer + Serialize,
    R::Action: Serialize,
{
    /// All that happened, for an observer such as a developer's live page.
    ///
    /// # Errors
    /// [`ReducerPanicked`](Error::ReducerPanicked), [`Unserializable`](Error::Unserializable).
    pub fn timeline(&self) -> Result<Timeline, Error> {
        let mut moments: Vec<Moment> = Vec::with_capacity(self.past.steps.len() + 1);
        let mut wrong = None;
        let walked = self.past.walk(|position, recorded, state| {
            let cause = match recorded.map(|recorded| &recorded.step) {
                None => Ok(Cause::Base),
                Some(Step::Reset) => Ok(Cause::Reset),
                Some(Step::Action(action)) => serde_json::to_value(action).map(Cause::Action),
            };
            let (cause, state) = match (cause, serde_json::to_value(state)) {
                (Ok(cause), Ok(state)) => (cause, state),
                (Err(error), _) | (_, Err(error)) => {
                    wrong.get_or_insert(error);
                    return;
                }
            };
            let mut changes = Vec::new();
            if let Some(before) = moments.last() {
                compare(&before.state, &state, &mut String::new(), &mut changes);
            }
            moments.push(Moment {
                position,
                at: recorded.map(|recorded| recorded.at),
                cause,
                state,
                changes,
            });
        });
        walked.map_err(|_| Error::ReducerPanicked)?;
        match wrong {
            Some(error) => Err(Error::Unserializable(error.into())),
            None => Ok(Timeline {
                position: self.past.position(),
                moments,
            }),
        }
    }
}

impl<R> Sessions<Store<R>>
where
    R: Reducer + Serialize,
    R::Action: Serialize,
{
    /// All that happened in a store, for a page of a developer's to show.
    ///
    /// # Errors
    /// [`Unserializable`](Error::Unserializable); a call's.
    pub async fn timeline(&self, id: &SessionId) -> Result<Timeline, Error> {
        self.call(id, timeline()).await.map_err(|error| error.map(drop))?
    }
}

/// Writes down where `after` differs from `before`, as deep as it can be told.
fn compare(before: &Value, after: &Value, path: &mut String, into: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let new = after.iter().filter(|(key, _)| !before.contains_key(*key));
            for (key, value) in before.iter().chain(new) {
                let length = path.len();
                path.push('/');
                path.push_str(&key.replace('~', "~0").replace('/', "~1"));
                match (before.get(key), after.get(key)) {
                    (Some(before), Some(after)) => compare(before, after, path, into),
                    (None, _) => into.push(difference(path, None, Some(value))),
                    (_, None) => into.push(difference(path, Some(value), None)),
                }
                path.truncate(length);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for index in 0..before.len().max(after.len()) {
                let length = path.len();
                path.push_str(&format!("/{index}"));
                match (before.get(index), after.get(index)) {
                    (Some(before), Some(after)) => compare(before, after, path, into),
                    (before, after) => into.push(difference(path, before, after)),
                }
                path.truncate(length);
            }
        }
        (before, after) if before != after => into.push(difference(path, Some(before), Some(after))),
        _ => {}
    }
}

fn difference(path: &str, before: Option<&Value>, after: Option<&Value>) -> Difference {
    Difference {
        path: path.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_told_where_they_are() {
        let before = json!({ "a": { "x/y": 1, "gone": [1] }, "list": [1, 2, 3], "same": "s" });
        let after = json!({ "a": { "x/y": 2 }, "list": [1, 5], "same": "s", "new": null });
        let mut differences = Vec::new();
        compare(&before, &after, &mut String::new(), &mut differences);
        let told = serde_json::to_value(&differences).unwrap();
        assert_eq!(
            told,
            json!([
                { "path": "/a/gone", "before": [1] },
                { "path": "/a/x~1y", "before": 1, "after": 2 },
                { "path": "/list/1", "before": 2, "after": 5 },
                { "path": "/list/2", "before": 3 },
                { "path": "/new", "after": null },
            ])
        );
    }
}
