//! [`Group`]: the changes of several callers, and what became of them; and the rounds in which they are written.

use std::{collections::HashSet, ops::Range};

use session_process::store::{Change, Fence, Op, Outcome, OwnerText, SessionKey, StoreError};

use super::{Reply, Writer};

/// Changes of several callers.
pub(super) struct Group {
    changes: Vec<Change>,
    outcomes: Vec<Option<Outcome>>,
    calls: Vec<Call>,
}

struct Call {
    /// Its changes.
    range: Range<usize>,
    /// `None`: it was answered.
    reply: Option<Reply<Vec<Outcome>>>,
}

impl Group {
    pub(super) fn new(commits: Vec<(Vec<Change>, Reply<Vec<Outcome>>)>) -> Self {
        let mut group = Self {
            changes: Vec::with_capacity(commits.iter().map(|(changes, _)| changes.len()).sum()),
            outcomes: Vec::new(),
            calls: Vec::with_capacity(commits.len()),
        };
        for (changes, reply) in commits {
            let first = group.changes.len();
            group.changes.extend(changes);
            group.calls.push(Call {
                range: first..group.changes.len(),
                reply: Some(reply),
            });
        }
        group.outcomes.resize_with(group.changes.len(), || None);
        group
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn change(&self, index: usize) -> &Change {
        &self.changes[index]
    }

    pub(super) fn set(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = Some(outcome);
    }

    /// Which changes of these calls are open, in their order.
    pub(super) fn open(&self, calls: Range<usize>) -> Vec<usize> {
        let calls = self.calls[calls].iter().filter(|call| call.reply.is_some());
        calls
            .flat_map(|call| call.range.clone())
            .filter(|index| self.outcomes[*index].is_none())
            .collect()
    }

    /// Somebody still waits for this change. Nothing is written of a call that was told that it failed.
    pub(super) fn is_awaited(&self, index: usize) -> bool {
        self.calls[self.call_of(index)].reply.is_some()
    }

    fn call_of(&self, index: usize) -> usize {
        self.calls.partition_point(|call| call.range.end <= index)
    }

    /// Answers these calls: those that are complete with their outcomes, the others with the error.
    pub(super) fn fail(&mut self, calls: Range<usize>, error: &StoreError) {
        for call in calls {
            self.send(call, || error.clone());
        }
    }

    /// Answers the call that the change belongs to, which is given up.
    pub(super) fn fail_change(&mut self, index: usize, error: StoreError) {
        let call = self.call_of(index);
        if let Some(reply) = self.calls[call].reply.take() {
            let _ = reply.send(Err(error));
        }
    }

    pub(super) fn answer(mut self) {
        let left_out = || StoreError::failed("commit", "a change was left out; this is an error of the store");
        for call in 0..self.calls.len() {
            self.send(call, left_out);
        }
    }

    fn send(&mut self, call: usize, error: impl Fn() -> StoreError) {
        let call = &mut self.calls[call];
        if let Some(reply) = call.reply.take() {
            let outcomes = self.outcomes[call.range.clone()].iter_mut().map(Option::take);
            let _ = reply.send(outcomes.collect::<Option<Vec<Outcome>>>().ok_or_else(error));
        }
    }
}

impl Writer {
    /// Writes what is open of these calls: of each key one change a round.
    pub(super) async fn rounds(&mut self, group: &mut Group, calls: Range<usize>) -> Result<(), StoreError> {
        let mut open = group.open(calls);
        while !open.is_empty() {
            let (plain, mut rotations, later) = in_order(group, open);
            self.without_rotations(group, plain).await?;
            rotations.retain(|index| group.is_awaited(*index));
            self.rotate(group, &rotations).await?;
            open = later;
            open.retain(|index| group.is_awaited(*index));
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
            let limit = self.link.connector.timeout;
            let done = tokio::time::timeout(limit, self.plain(group, plain)).await;
            done.unwrap_or_else(|_| Err(self.too_late()))?;
            guarded.retain(|index| group.is_awaited(*index));
            self.guarded(group, guarded).await?;
            waiting.retain(|index| group.is_awaited(*index));
        }
        Ok(())
    }
}

/// What can be done first, the rotations that can follow it, and what has to wait for those: it concerns one of their
/// keys and came later.
fn in_order(group: &Group, open: Vec<usize>) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let is_rotation = |index: &usize| matches!(group.change(*index).op, Op::Rotate(_));
    if !open.iter().any(is_rotation) {
        return (open, Vec::new(), Vec::new());
    }
    let (mut plain, mut rotations, mut later) = (Vec::new(), Vec::new(), Vec::new());
    let mut taken = HashSet::new();
    for index in open {
        let waits = keys(group.change(index)).any(|key| taken.contains(&key));
        if waits || is_rotation(&index) {
            taken.extend(keys(group.change(index)));
        }
        match (waits, is_rotation(&index)) {
            (true, _) => &mut later,
            (false, true) => &mut rotations,
            (false, false) => &mut plain,
        }
        .push(index);
    }
    (plain, rotations, later)
}

/// The keys that a change concerns: one, or two.
pub(super) fn keys(change: &Change) -> impl Iterator<Item = SessionKey> {
    let to = match &change.op {
        Op::Rotate(to) => Some(*to),
        _ => None,
    };
    std::iter::once(change.key).chain(to)
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
