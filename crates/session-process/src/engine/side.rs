//! What few sessions have: a task at work, timers and effects, monitors, a changed id, restarts behind them.
//!
//! An idle session pays two words for it; the rest is allocated when it is first needed. What a handler that had to wait
//! needed is given back after it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use tokio::{sync::watch, task::AbortHandle};

use super::guard::caught;
use crate::{Follower, SessionId, process::EndReason};

#[derive(Default)]
pub(crate) struct Side {
    pub(crate) ended: Option<EndReason>,
    /// A handler that goes on in a task must not: the session was cut off.
    pub(crate) killed: bool,
    /// The number of the task that holds the run right; if none does, a number that no task has.
    run: u32,
    extras: Option<Box<Extras>>,
}

/// What came of a [`kill`](Side::kill).
pub(crate) struct Killed {
    /// It had neither been killed nor ended before.
    pub(crate) first: bool,
    pub(crate) task: Option<AbortHandle>,
}

#[derive(Default)]
pub(crate) struct Extras {
    /// The task that holds the run right, when it has been spawned.
    run: Option<AbortHandle>,
    ended: Option<watch::Sender<Option<EndReason>>>,
    followers: Vec<Weak<dyn Follower>>,
    /// `None`: announced, and just being spawned.
    tasks: HashMap<u64, Option<AbortHandle>>,
    last_task: u64,
    restarts: Vec<u64>,
    pub(crate) id: Option<SessionId>,
    /// Since when it has that id.
    pub(crate) id_since: Option<u64>,
    /// When its user last proved who they are. Of a durable session it is in the record.
    pub(crate) authenticated: Option<u64>,
}

impl Side {
    /// A task is about to be spawned that will hold the run right. Its number; `None` if it must not run.
    pub(crate) fn announce_run(&mut self) -> Option<u32> {
        if self.killed {
            return None;
        }
        self.next_run();
        Some(self.run)
    }

    /// The task that was announced. Returned if it is to be aborted. One that is done by now is forgotten: its handle
    /// would keep its memory with an idle session.
    pub(crate) fn keep_run(&mut self, run: u32, task: AbortHandle) -> Option<AbortHandle> {
        if self.killed {
            return Some(task);
        }
        if self.run == run {
            self.extras().run = Some(task);
        }
        None
    }

    pub(crate) fn run_is_over(&mut self, run: u32) {
        if self.run == run {
            self.next_run();
        }
    }

    /// The task that was at work isn't any more, or is to be forgotten.
    fn next_run(&mut self) {
        self.run = self.run.wrapping_add(1);
        if let Some(extras) = &mut self.extras {
            extras.run = None;
            if extras.is_empty() {
                self.extras = None;
            }
        }
    }

    /// From now on no task may run. The one that does, to be aborted.
    pub(crate) fn kill(&mut self) -> Killed {
        let first = !self.killed && self.ended.is_none();
        self.killed = true;
        let task = self.extras.as_mut().and_then(|extras| extras.run.take());
        Killed { first, task }
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    pub(crate) fn peek(&self) -> Option<&Extras> {
        self.extras.as_deref()
    }

    /// Puts a timer or an effect that is about to be spawned on the list; `None` if the session is over.
    pub(crate) fn announce_task(&mut self) -> Option<u64> {
        if self.ended.is_some() {
            return None;
        }
        let extras = self.extras();
        extras.last_task += 1;
        let key = extras.last_task;
        extras.tasks.insert(key, None);
        Some(key)
    }

    /// The task that was announced. Returned if it is no longer on the list.
    pub(crate) fn keep_task(&mut self, key: u64, task: AbortHandle) -> Option<AbortHandle> {
        match self.extras.as_mut().and_then(|extras| extras.tasks.get_mut(&key)) {
            Some(place) => {
                *place = Some(task);
                None
            }
            None => Some(task),
        }
    }

    /// Takes a timer or an effect off the list.
    pub(crate) fn take_task(&mut self, key: u64) -> Option<Option<AbortHandle>> {
        self.extras.as_mut()?.tasks.remove(&key)
    }

    /// Stops timers and effects. Returns whether the session was killed.
    pub(crate) fn stop_tasks(&mut self) -> bool {
        if let Some(extras) = &mut self.extras {
            extras.stop_tasks();
        }
        self.killed
    }

    /// Follows the session's end; at once, if it has ended.
    pub(crate) fn watch_end(&mut self) -> watch::Receiver<Option<EndReason>> {
        if let Some(reason) = self.ended {
            return watch::channel(Some(reason)).1;
        }
        let ended = &mut self.extras().ended;
        ended.get_or_insert_with(|| watch::channel(None).0).subscribe()
    }

    /// Notes one who is told of rotations and of the end; false if the session has ended.
    pub(crate) fn follow(&mut self, follower: Weak<dyn Follower>) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let followers = &mut self.extras().followers;
        followers.retain(|follower| follower.strong_count() > 0);
        followers.push(follower);
        true
    }

    pub(crate) fn followers(&self) -> Vec<Arc<dyn Follower>> {
        self.peek().map_or_else(Vec::new, Extras::living_followers)
    }

    /// Records the end. Returns what is to be told and dropped outside the lock; `None` if it had ended before.
    pub(crate) fn finish(&mut self, reason: EndReason) -> Option<Farewell> {
        if self.ended.replace(reason).is_some() {
            return None;
        }
        self.next_run();
        let extras = self.extras.take();
        // A rotated session keeps its id: its last event names it.
        if let Some(id) = extras.as_ref().and_then(|extras| extras.id.clone()) {
            self.extras().id = Some(id);
        }
        Some(Farewell { reason, extras })
    }
}

pub(crate) struct Farewell {
    reason: EndReason,
    extras: Option<Box<Extras>>,
}

impl Farewell {
    /// Tells the monitors and stops timers and effects.
    pub(crate) fn say(self) {
        if let Some(ended) = self.extras.as_ref().and_then(|extras| extras.ended.as_ref()) {
            ended.send_replace(Some(self.reason));
        }
        for follower in self.extras.iter().flat_map(|extras| extras.living_followers()) {
            let _ = caught(|| follower.ended(self.reason));
        }
    }
}

/// A session that is dropped with its engine takes its timers and effects along.
impl Drop for Extras {
    fn drop(&mut self) {
        self.stop_tasks();
    }
}

impl Extras {
    fn is_empty(&self) -> bool {
        let Self {
            run,
            ended,
            followers,
            tasks,
            last_task,
            restarts,
            id,
            id_since,
            authenticated,
        } = self;
        run.is_none()
            && ended.is_none()
            && followers.is_empty()
            && tasks.is_empty()
            // The next timer must not have the number of an earlier one, which somebody may still want to cancel.
            && *last_task == 0
            && restarts.is_empty()
            && id.is_none()
            && id_since.is_none()
            && authenticated.is_none()
    }

    /// Pages and others that follow the session's end.
    pub(crate) fn monitors(&self) -> usize {
        self.ended.as_ref().map_or(0, watch::Sender::receiver_count)
    }

    fn living_followers(&self) -> Vec<Arc<dyn Follower>> {
        self.followers.iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn stop_tasks(&mut self) {
        for (_, task) in self.tasks.drain() {
            if let Some(task) = task {
                task.abort();
            }
        }
    }

    /// Counts a restart at `now`, unless `max` fall within `window` already. Returns how many do then.
    pub(crate) fn admit_restart(&mut self, now: u64, max: u32, window: u64) -> Option<u32> {
        self.restarts.retain(|at| now.saturating_sub(*at) < window);
        if self.restarts.len() >= max as usize {
            return None;
        }
        self.restarts.push(now);
        Some(self.restarts.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn task() -> AbortHandle {
        tokio::spawn(pending::<()>()).abort_handle()
    }

    #[tokio::test]
    async fn a_session_that_is_killed_while_its_task_is_being_spawned_has_it_aborted() {
        let mut side = Side::default();
        let run = side.announce_run().expect("it is not killed yet");
        let killed = side.kill();
        assert!(killed.first && killed.task.is_none(), "there is no task yet");
        assert!(side.keep_run(run, task()).is_some());
        assert!(side.announce_run().is_none(), "nor may another run");
    }

    #[tokio::test]
    async fn a_task_that_is_over_before_it_is_kept_is_forgotten() {
        let mut side = Side::default();
        let run = side.announce_run().expect("it is not killed");
        side.run_is_over(run);
        assert!(side.keep_run(run, task()).is_none());
        assert!(side.peek().is_none(), "it costs an idle session nothing");
        assert!(side.kill().task.is_none());
    }

    #[tokio::test]
    async fn a_timer_that_is_cancelled_while_it_is_being_spawned_is_aborted() {
        let mut side = Side::default();
        let key = side.announce_task().expect("it has not ended");
        assert!(matches!(side.take_task(key), Some(None)));
        assert!(side.keep_task(key, task()).is_some());
    }
}
