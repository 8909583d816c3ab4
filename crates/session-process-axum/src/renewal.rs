//! [`Renewals`]: ids that give way to new ones while their sessions go on.
//!
//! # Invariants
//! 1. An id is renewed once: of requests at once, one renews it and the others follow.
//! 2. For the overlap, and no longer, whoever comes with the old id is at the same session, and is told the new one. So
//!    requests that were under way are not lost, nor is a browser that missed the answer.
//! 3. An old id leads to the new one and not further: after a rotation at login it leads nowhere.
//!
//! The overlap is known to the node that renewed.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use session_process::SessionId;

#[derive(Debug)]
pub(crate) struct Renewals {
    pub(crate) every: Duration,
    overlap: Duration,
    moved: Mutex<Moved>,
}

#[derive(Debug, Default)]
struct Moved {
    to: HashMap<SessionId, SessionId>,
    /// Until when each leads on, the first to end first.
    until: VecDeque<(Duration, SessionId)>,
}

impl Renewals {
    pub(crate) fn new(every: Duration, overlap: Duration) -> Self {
        Self {
            every,
            overlap,
            moved: Mutex::default(),
        }
    }

    /// The id that is to take this one's place; `None` if somebody else is at it.
    pub(crate) fn begin(&self, from: &SessionId, now: Duration) -> Option<SessionId> {
        let mut moved = self.lock(now);
        if moved.to.contains_key(from) {
            return None;
        }
        let to = SessionId::generate();
        moved.to.insert(from.clone(), to.clone());
        moved.until.push_back((now.saturating_add(self.overlap), from.clone()));
        Some(to)
    }

    /// It was not renewed after all.
    pub(crate) fn forget(&self, from: &SessionId, now: Duration) {
        let mut moved = self.lock(now);
        moved.to.remove(from);
        moved.until.retain(|(_, id)| id != from);
    }

    /// Where an id leads that was renewed lately.
    pub(crate) fn follow(&self, from: &SessionId, now: Duration) -> Option<SessionId> {
        self.lock(now).to.get(from).cloned()
    }

    fn lock(&self, now: Duration) -> MutexGuard<'_, Moved> {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        while moved.until.front().is_some_and(|(until, _)| *until <= now)
            && let Some((_, from)) = moved.until.pop_front()
        {
            moved.to.remove(&from);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_id_is_renewed_once_and_leads_on_for_the_overlap() {
        let renewals = Renewals::new(SECOND * 60, SECOND * 10);
        let old = SessionId::generate();
        let new = renewals.begin(&old, SECOND).unwrap();
        assert_eq!(renewals.begin(&old, SECOND), None);
        assert_eq!(renewals.follow(&old, SECOND * 10), Some(new.clone()));
        assert_eq!(renewals.follow(&new, SECOND * 10), None);
        assert_eq!(renewals.follow(&old, SECOND * 11), None);
        assert!(renewals.lock(SECOND * 11).to.is_empty() && renewals.lock(SECOND * 11).until.is_empty());
    }

    #[test]
    fn one_that_failed_is_tried_again() {
        let renewals = Renewals::new(SECOND * 60, SECOND * 10);
        let old = SessionId::generate();
        renewals.begin(&old, SECOND).unwrap();
        renewals.forget(&old, SECOND);
        assert_eq!(renewals.follow(&old, SECOND), None);
        assert!(renewals.begin(&old, SECOND).is_some());
    }
}
