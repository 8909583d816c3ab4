//! Effects: asynchronous work that an action started, by key.

use std::{
    borrow::Cow,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
};

use super::{Reducer, Store};
use crate::{Context, Handle, TaskKey};

pub(super) type EffectFuture<R> = Pin<Box<dyn Future<Output = Option<<R as Reducer>::Action>> + Send>>;

/// What is under way.
#[derive(Default)]
pub(super) struct Running {
    /// With a number: what a cancelled effect has sent already is not of this number any more.
    by_key: HashMap<Cow<'static, str>, (u64, TaskKey)>,
    last: u64,
}

/// An effect is done.
pub(super) struct Done<A> {
    key: Cow<'static, str>,
    number: u64,
    action: Option<A>,
}

impl Running {
    pub(super) fn contains(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn start<R: Reducer>(
        &mut self,
        key: Cow<'static, str>,
        work: EffectFuture<R>,
        cx: &mut Context<Store<R>>,
    ) {
        self.cancel(&key, cx);
        self.last += 1;
        let number = self.last;
        let done_key = key.clone();
        let task = cx.spawn(async move {
            let action = guarded(work).await;
            let key = done_key;
            Done { key, number, action }
        });
        self.by_key.insert(key, (number, task));
    }

    /// Returns whether it was under way.
    pub(super) fn cancel<R: Reducer>(&mut self, key: &str, cx: &mut Context<Store<R>>) -> bool {
        match self.by_key.remove(key) {
            Some((_, task)) => {
                cx.cancel(task);
                true
            }
            None => false,
        }
    }

    fn done<A>(&mut self, done: Done<A>) -> Option<A> {
        let (number, _) = self.by_key.get(&done.key)?;
        if *number != done.number {
            return None;
        }
        self.by_key.remove(&done.key);
        done.action
    }
}

impl<R: Reducer> Handle<Done<R::Action>> for Store<R> {
    type Reply = ();
    async fn handle(&mut self, done: Done<R::Action>, cx: &mut Context<Self>) {
        if let Some(action) = self.running.done(done) {
            self.run_for_nobody(action, cx);
        }
    }
}

/// The work, or `None` if it panics.
async fn guarded<A>(mut work: Pin<Box<dyn Future<Output = Option<A>> + Send>>) -> Option<A> {
    std::future::poll_fn(move |cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|_| {
            tracing::error!(target: "session_process::redux", "an effect panicked");
            Poll::Ready(None)
        })
    })
    .await
}
