//! [`Subscription`], and the store's side of it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::slot::{Slot, SubscriptionEnd};

/// The selected part of a store's state: its value now, then every change of it.
///
/// A stream, and [`next`](Self::next) for those who need no more. What is read is always the latest: a slow reader
/// misses values in between and costs the memory of one. Values that are equal to the one before are not told.
/// Several subscriptions to one store see its changes in one order.
///
/// It ends with the session's process, whose last value is still read, and is no use of the session. Dropping it is all
/// there is to do: nothing of it stays in the store.
///
/// ```
/// # use session_process::{SessionId, Sessions, redux::{Reducer, Store}};
/// # #[derive(Clone, Default)] struct Counter(i64);
/// # impl Reducer for Counter { type Action = i64; fn reduce(&mut self, n: &i64) { self.0 += n; } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sessions = Sessions::<Store<Counter>>::builder().build()?;
/// # let id = SessionId::generate();
/// # sessions.start(&id).await?;
/// let mut even = sessions.subscribe(&id, |counter| counter.0 % 2 == 0).await?;
/// assert_eq!(even.next().await, Some(true));
///
/// sessions.dispatch(&id, 2).await?; // still even: nothing to tell
/// sessions.dispatch(&id, 1).await?;
/// assert_eq!(even.next().await, Some(false));
///
/// sessions.terminate(&id).await?;
/// assert_eq!(even.next().await, None);
/// # Ok(()) }
/// ```
#[must_use = "a subscription that is dropped tells nothing"]
pub struct Subscription<T> {
    slot: Arc<Slot<T>>,
    key: u64,
    unsubscribe: Unsubscribe,
}

/// Takes a subscription out of its store. One for all of a store.
pub(super) type Unsubscribe = Arc<dyn Fn(u64) + Send + Sync>;

impl<T> Subscription<T> {
    /// The value now, or the next change. `None` at the end: [`ended`](Self::ended) says why it came.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.slot.poll(cx.waker())).await
    }

    /// Why it ended, if it has. A last value may still wait.
    #[must_use]
    pub fn ended(&self) -> Option<SubscriptionEnd> {
        self.slot.ended()
    }
}

impl<T> Stream for Subscription<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.slot.poll(cx.waker())
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.slot.abandon();
        (self.unsubscribe)(self.key);
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

/// All subscriptions of a store, in the order in which they were made.
pub(super) struct Subscribers<R> {
    list: Vec<(u64, Box<dyn Watch<R>>)>,
    last: u64,
}

impl<R> Default for Subscribers<R> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            last: 0,
        }
    }
}

impl<R: 'static> Subscribers<R> {
    /// Those whose readers are not gone.
    pub(super) fn len(&mut self) -> usize {
        self.list.retain(|(_, watch)| !watch.is_abandoned());
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&mut self, max: usize) -> bool {
        // Those that were dropped say so themselves; their messages may just be on the way.
        self.list.len() < max || self.len() < max
    }

    /// By what `select` returns.
    pub(super) fn add<T, F>(&mut self, select: F, now: T, unsubscribe: &Unsubscribe) -> Subscription<T>
    where
        F: Fn(&R) -> T + Send + 'static,
        T: PartialEq + Clone + Send + 'static,
    {
        self.insert(now, unsubscribe, |last, sending| {
            Box::new(ByValue { select, last, sending })
        })
    }

    /// By what `select` points to, which is cloned only when it has changed.
    pub(super) fn add_ref<T, F>(&mut self, select: F, now: T, unsubscribe: &Unsubscribe) -> Subscription<T>
    where
        F: for<'a> Fn(&'a R) -> &'a T + Send + 'static,
        T: PartialEq + Clone + Send + 'static,
    {
        self.insert(now, unsubscribe, |last, sending| {
            Box::new(ByRef { select, last, sending })
        })
    }

    fn insert<T: Clone>(
        &mut self,
        now: T,
        unsubscribe: &Unsubscribe,
        watch: impl FnOnce(T, Sending<T>) -> Box<dyn Watch<R>>,
    ) -> Subscription<T> {
        self.last += 1;
        let slot = Arc::new(Slot::new(now.clone()));
        self.list.push((
            self.last,
            watch(
                now,
                Sending {
                    slot: Arc::clone(&slot),
                    staged: None,
                },
            ),
        ));
        Subscription {
            slot,
            key: self.last,
            unsubscribe: Arc::clone(unsubscribe),
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        if let Ok(index) = self.list.binary_search_by_key(&key, |(key, _)| *key) {
            self.list.remove(index);
        }
        if self.list.is_empty() {
            self.list = Vec::new();
        }
    }

    /// Tells those whose selection has changed.
    #[inline]
    pub(super) fn tell(&mut self, state: &R) {
        self.look(state, false);
    }

    /// Notes what there is to tell, for [`publish`](Self::publish): the state is not durable yet.
    pub(super) fn stage(&mut self, state: &R) {
        self.look(state, true);
    }

    /// What was staged is durable.
    pub(super) fn publish(&mut self) {
        for (_, watch) in &mut self.list {
            watch.publish();
        }
    }

    #[inline]
    fn look(&mut self, state: &R, hold: bool) {
        if self.list.is_empty() {
            return;
        }
        self.list.retain_mut(|(_, watch)| {
            // One by one: whose selector panics ends alone.
            catch_unwind(AssertUnwindSafe(|| watch.look(state, hold))).unwrap_or_else(|_| {
                watch.fail();
                false
            })
        });
    }
}

trait Watch<R>: Send {
    /// Tells what has changed, or holds it back. Returns whether it goes on.
    fn look(&mut self, state: &R, hold: bool) -> bool;
    fn publish(&mut self);
    fn fail(&self);
    fn is_abandoned(&self) -> bool;
}

struct Sending<T> {
    slot: Arc<Slot<T>>,
    staged: Option<T>,
}

impl<T> Sending<T> {
    /// Returns whether there is a reader. Only here is it asked: a selection that has not changed touches no memory
    /// but its own, and of a reader that goes the store is told by a message anyway.
    fn put(&mut self, value: T, hold: bool) -> bool {
        if self.slot.is_abandoned() {
            return false;
        }
        if hold {
            self.staged = Some(value);
        } else {
            self.slot.put(value);
        }
        true
    }

    fn publish(&mut self) {
        if let Some(value) = self.staged.take() {
            self.slot.put(value);
        }
    }
}

impl<T> Drop for Sending<T> {
    fn drop(&mut self) {
        self.slot.end(SubscriptionEnd::SessionEnded);
    }
}

struct ByValue<F, T> {
    select: F,
    last: T,
    sending: Sending<T>,
}

impl<R, T, F> Watch<R> for ByValue<F, T>
where
    F: Fn(&R) -> T + Send,
    T: PartialEq + Clone + Send,
{
    #[inline]
    fn look(&mut self, state: &R, hold: bool) -> bool {
        let now = (self.select)(state);
        if now == self.last {
            return true;
        }
        let goes_on = self.sending.put(now.clone(), hold);
        self.last = now;
        goes_on
    }

    fn publish(&mut self) {
        self.sending.publish();
    }

    fn fail(&self) {
        self.sending.slot.end(SubscriptionEnd::SelectorPanicked);
    }

    fn is_abandoned(&self) -> bool {
        self.sending.slot.is_abandoned()
    }
}

struct ByRef<F, T> {
    select: F,
    last: T,
    sending: Sending<T>,
}

impl<R, T, F> Watch<R> for ByRef<F, T>
where
    F: for<'a> Fn(&'a R) -> &'a T + Send,
    T: PartialEq + Clone + Send,
{
    #[inline]
    fn look(&mut self, state: &R, hold: bool) -> bool {
        let now = (self.select)(state);
        if *now == self.last {
            return true;
        }
        self.last = now.clone();
        self.sending.put(now.clone(), hold)
    }

    fn publish(&mut self) {
        self.sending.publish();
    }

    fn fail(&self) {
        self.sending.slot.end(SubscriptionEnd::SelectorPanicked);
    }

    fn is_abandoned(&self) -> bool {
        self.sending.slot.is_abandoned()
    }
}
