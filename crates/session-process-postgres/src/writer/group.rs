//! [`Group`]: the changes of several callers, and what became of them; and the rounds in which they are written.

use std::collections::{HashSet, VecDeque};

use session_process::store::{Change, Fence, Op, Outcome, OwnerText, StoreError};

use super::{Reply, Writer};

/// Changes of several callers.
pub(super) struct Group {
    changes: Vec<Option<Change>>,
    outcomes: Vec<Option<Outcome>>,
    /// How many of them belong to each call, in its order.
    calls: Vec<(usize, Option<Reply<Vec<Outcome>>>)>,
}

impl Group {
    pub(super) fn new(commits: Vec<(Vec<Change>, Reply<Vec<Outcome>>)>) -> Self {
        let mut group = Self {
            changes: Vec::new(),
            outcomes: Vec::new(),
            calls: Vec::with_capacity(commits.len()),
        };
        for (changes, reply) in commits {
            group.calls.push((changes.len(), Some(reply)));
            group.changes.extend(changes.into_iter().map(Some));
        }
        group.outcomes.resize_with(group.changes.len(), || None);
        group
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn change(&self, index: usize) -> &Change {
        self.changes[index].as_ref().expect("an open change")
    }

    pub(super) fn set(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = Some(outcome);
    }

    fn range(&self, call: usize) -> std::ops::Range<usize> {
        let begin = self.calls[..call].iter().map(|(count, _)| count).sum();
        begin..begin + self.calls[call].0
    }

    /// Which are open, in their order.
    fn open(&self, call: Option<usize>) -> Vec<usize> {
        let range = call.map_or(0..self.changes.len(), |call| self.range(call));
        range.filter(|index| self.outcomes[*index].is_none()).collect()
    }

    /// Answers every call: those that are complete with their outcomes, the others with the error.
    pub(super) fn fail(mut self, error: &StoreError) {
        self.send(|| error.clone());
    }

    pub(super) fn fail_call(&mut self, call: usize, error: StoreError) {
        if let Some(reply) = self.calls[call].1.take() {
            let _ = reply.send(Err(error));
        }
    }

    pub(super) fn answer(mut self) {
        self.send(|| StoreError::failed("commit", "a change was left out; this is an error of the store"));
    }

    fn send(&mut self, error: impl Fn() -> StoreError) {
        let mut outcomes = std::mem::take(&mut self.outcomes).into_iter();
        for (count, reply) in &mut self.calls {
            let own: Option<Vec<Outcome>> = outcomes.by_ref().take(*count).collect::<Vec<_>>().into_iter().collect();
            if let Some(reply) = reply.take() {
                let _ = reply.send(own.ok_or_else(&error));
            }
        }
    }
}

impl Writer {
    /// Writes what is open: of each key one change a round.
    pub(super) async fn rounds(&mut self, group: &mut Group, call: Option<usize>) -> Result<(), StoreError> {
        let mut open = VecDeque::from(group.open(call));
        while !open.is_empty() {
            // A rotation concerns two keys: what comes before it is done first, what comes after it afterwards.
            let rotation = open
                .iter()
                .position(|index| matches!(group.change(*index).op, Op::Rotate(_)));
            let before: Vec<usize> = open.drain(..rotation.unwrap_or(open.len())).collect();
            self.without_rotations(group, before).await?;
            if let Some(index) = open.pop_front() {
                self.rotate(group, index).await?;
            }
        }
        Ok(())
    }

    async fn without_rotations(&mut self, group: &mut Group, mut waiting: Vec<usize>) -> Result<(), StoreError> {
        // Of each key in its order. And the order of the keys is that in which rows are locked.
        waiting.sort_by_key(|index| group.change(*index).key);
        while !waiting.is_empty() {
            let (mut plain, mut guarded, mut users) = (Vec::with_capacity(waiting.len()), Vec::new(), HashSet::new());
            let mut before = None;
            waiting.retain(|index| {
                let change = group.change(*index);
                // What waits for one of its key waits for the next round.
                if before.replace(change.key) == Some(change.key) {
                    return true;
                }
                match limit(change) {
                    // One of each user at a time, so that each is counted before the next.
                    Some(user) if !users.insert(user.clone()) => return true,
                    None if fence(change).is_none() => plain.push(*index),
                    _ => guarded.push(*index),
                }
                false
            });
            self.plain(group, plain).await?;
            self.guarded(group, guarded).await?;
        }
        Ok(())
    }
}

/// The lock under which a change is made.
pub(super) fn fence(change: &Change) -> Option<Fence> {
    match &change.op {
        Op::Edit(edit) => edit.fence,
        _ => None,
    }
}

/// The user whose sessions have to be counted for this change.
pub(super) fn limit(change: &Change) -> Option<&OwnerText> {
    match &change.op {
        Op::Create(new) => new.limit.and(new.user_id.as_ref()),
        Op::Edit(edit) => edit.limit.and(edit.user_id.as_ref()?.as_ref()),
        _ => None,
    }
}
