//! [`Context`]: what a process can do besides changing its state.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    EndReason, Handle, Monitor, Process, SessionId, Timestamp,
    clock::{Clock, nanos},
    engine::{AnySession, Session, post_to_itself, send_to_itself},
};

/// Handed to every handler: the session around the process.
pub struct Context<P: Process> {
    /// Weak, as it lies within the session itself: so a message pays nothing for it.
    session: Weak<Session<P>>,
    stop: Option<EndReason>,
    unchanged: bool,
}

impl<P: Process> Context<P> {
    /// Of no session yet: see [`belong_to`](Self::belong_to).
    pub(crate) fn new() -> Self {
        Self {
            session: Weak::new(),
            stop: None,
            unchanged: false,
        }
    }

    /// Before the first of the user's code runs.
    pub(crate) fn belong_to(&mut self, session: &Arc<Session<P>>) {
        self.session = Arc::downgrade(session);
    }

    /// The handler has asked for the session's end.
    pub(crate) fn stops(&self) -> bool {
        self.stop.is_some()
    }

    pub(crate) fn is_unchanged(&self) -> bool {
        self.unchanged
    }

    pub(crate) fn take_unchanged(&mut self) -> bool {
        std::mem::take(&mut self.unchanged)
    }

    /// Says that this message leaves the state as it is, so a durable process needn't write it down. Without a word
    /// every message counts as a change, and the state is written down to see whether it was one.
    ///
    /// ```
    /// # use session_process::{Context, Handle, Process};
    /// # #[derive(Default)] struct Cart { items: Vec<String> }
    /// # impl Process for Cart {}
    /// struct Count;
    /// impl Handle<Count> for Cart {
    ///     type Reply = usize;
    ///     async fn handle(&mut self, _: Count, cx: &mut Context<Self>) -> usize {
    ///         cx.unchanged();
    ///         self.items.len()
    ///     }
    /// }
    /// ```
    pub fn unchanged(&mut self) {
        self.unchanged = true;
    }

    pub(crate) fn take_stop(&mut self) -> Option<EndReason> {
        // Looks first: `take` would write to memory that most messages only read.
        self.stop.is_some().then(|| self.stop.take()).flatten()
    }

    fn session(&self) -> Arc<Session<P>> {
        self.session
            .upgrade()
            .expect("who handles a message for a session holds it")
    }

    /// The id of this session: the current one, if it was rotated.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        AnySession::id(&*self.session())
    }

    /// The time of the calendar, by this node's clock: for what is written down or shown. On Linux as of the kernel's
    /// last tick. A [`ManualClock`](crate::guide::testing) counts from the Unix epoch.
    ///
    /// It jumps when somebody sets the system's clock; the engine's own time limits don't depend on it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.session().engine().clock.calendar()
    }

    /// The clock behind [`now`](Self::now), for a process that reads it with every message.
    pub(crate) fn clock(&self) -> Clock {
        self.session().engine().clock.clone()
    }

    /// What leaves the process waits until the state that it reflects is durable.
    pub(crate) fn is_gated(&self) -> bool {
        let through = |durable: &crate::durability::Durable<P>| durable.pace == crate::durability::Pace::Through;
        P::DURABILITY.0.as_ref().is_some_and(through) && self.session().kept.is_some()
    }

    /// The way to this session for what outlives the handler: see [`send_to_session`].
    pub(crate) fn weak(&self) -> Weak<Session<P>> {
        Weak::clone(&self.session)
    }

    /// Ends this session once the handler has returned, [`Stopped`](EndReason::Stopped) or for another reason.
    ///
    /// The reply is still delivered, and who has it finds the session gone. Messages that wait go back to their
    /// senders.
    pub fn stop(&mut self, reason: EndReason) {
        self.stop.get_or_insert(reason);
    }

    /// A value that the application gave to the builder: [`Builder::extension`](crate::Builder::extension).
    #[must_use]
    pub fn extension<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let session = self.session();
        let value = Arc::clone(session.engine().extensions.get(&TypeId::of::<T>())?);
        value.downcast().ok()
    }

    /// Sends this process a message after a while. The timer ends with the session or a crash; it is no use of the
    /// session and doesn't keep it alive.
    pub fn send_after<M>(&mut self, after: Duration, message: M) -> TaskKey
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        let this = self.session();
        let session = Weak::clone(&self.session);
        let clock = this.engine().clock.clone();
        let at = clock.now().saturating_add(nanos(after));
        TaskKey(this.spawn_task(|key| async move {
            clock.sleep_until(at).await;
            if let Some(session) = session.upgrade() {
                // Unless the process that set it has crashed just now: the next one knows nothing of it.
                if session.forget_task(key, false) {
                    post_to_itself(session, message);
                }
            }
        }))
    }

    /// Sends this process a message every `period`, the first after one `period`. The next one is due only when the
    /// last was handled, so a slow process gets fewer and never a pile of them. Like
    /// [`send_after`](Self::send_after), it doesn't keep the session alive.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn send_interval<M>(&mut self, period: Duration, message: M) -> TaskKey
    where
        P: Handle<M>,
        M: Clone + Send + 'static,
    {
        assert!(
            !period.is_zero(),
            "an interval of zero would never let anything else run"
        );
        let this = self.session();
        let session = Weak::clone(&self.session);
        let clock = this.engine().clock.clone();
        let mut at = clock.now();
        TaskKey(this.spawn_task(|_| async move {
            loop {
                at = at.saturating_add(nanos(period)).max(clock.now());
                clock.sleep_until(at).await;
                let Some(session) = session.upgrade() else { return };
                if !send_to_itself(session, message.clone()).await {
                    return;
                }
                // A handler slower than its period has the next one due at once.
                tokio::task::yield_now().await;
            }
        }))
    }

    /// Starts an effect: asynchronous work whose result comes back as a message. It runs beside the process, which
    /// handles other messages meanwhile, and is cut off when the session ends or crashes.
    ///
    /// ```
    /// # use session_process::{Context, Handle, Process};
    /// # #[derive(Default)] struct Cart { price: u64 }
    /// # impl Process for Cart {}
    /// struct Refresh;
    /// struct Price(u64);
    ///
    /// impl Handle<Refresh> for Cart {
    ///     type Reply = ();
    ///     async fn handle(&mut self, _: Refresh, cx: &mut Context<Self>) {
    ///         cx.spawn(async { Price(42) });
    ///     }
    /// }
    /// impl Handle<Price> for Cart {
    ///     type Reply = ();
    ///     async fn handle(&mut self, Price(price): Price, _: &mut Context<Self>) {
    ///         self.price = price;
    ///     }
    /// }
    /// ```
    pub fn spawn<M>(&mut self, effect: impl Future<Output = M> + Send + 'static) -> TaskKey
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        let this = self.session();
        let session = Weak::clone(&self.session);
        TaskKey(this.spawn_task(|key| async move {
            // Off the list also if the effect panics, which tokio catches.
            let done = Done { session, key };
            let message = effect.await;
            if let Some(session) = done.session.upgrade()
                && session.forget_task(key, false)
            {
                post_to_itself(session, message);
            }
        }))
    }

    /// Cancels a timer or an effect. Returns whether it was still under way; a message that it has already sent stays
    /// sent.
    pub fn cancel(&mut self, key: TaskKey) -> bool {
        self.session().forget_task(key.0, true)
    }

    /// Follows this session to its end: for a page to hold. See [`Monitor`].
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.session().monitor()
    }

    /// How many [`Monitor`]s follow this session: its open pages.
    #[must_use]
    pub fn monitors(&self) -> usize {
        self.session().stats(0).monitors
    }

    /// Puts the reply off: the handler returns the [`Deferred`] at once, and whoever holds the [`ReplySender`] sends
    /// the reply later. Meanwhile the process handles other messages. Called with
    /// [`Sessions::call_deferred`](crate::Sessions::call_deferred).
    ///
    /// ```
    /// # use session_process::{Context, Deferred, Handle, Process, ReplySender, Sessions};
    /// #[derive(Default)]
    /// struct Desk { waiting: Vec<ReplySender<u32>> }
    /// impl Process for Desk {}
    ///
    /// struct Wait;
    /// impl Handle<Wait> for Desk {
    ///     type Reply = Deferred<u32>;
    ///     async fn handle(&mut self, _: Wait, cx: &mut Context<Self>) -> Deferred<u32> {
    ///         let (sender, reply) = cx.defer_reply();
    ///         self.waiting.push(sender);
    ///         reply
    ///     }
    /// }
    ///
    /// struct Next(u32);
    /// impl Handle<Next> for Desk {
    ///     type Reply = ();
    ///     async fn handle(&mut self, Next(number): Next, _: &mut Context<Self>) {
    ///         for waiting in self.waiting.drain(..) {
    ///             waiting.send(number);
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let desks = Sessions::<Desk>::builder().build()?;
    /// # let id = "desk-1".parse()?;
    /// desks.start(&id).await?;
    /// let (number, _) = tokio::join!(desks.call_deferred(&id, Wait), desks.call(&id, Next(7)));
    /// assert_eq!(number?, 7);
    /// # Ok(()) }
    /// ```
    pub fn defer_reply<T>(&self) -> (ReplySender<T>, Deferred<T>) {
        let (sender, receiver) = oneshot::channel();
        (ReplySender(sender), Deferred(receiver))
    }
}

impl<P: Process> fmt::Debug for Context<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("session", &self.session_id())
            .field("stop", &self.stop)
            .finish()
    }
}

struct Done<P: Process> {
    session: Weak<Session<P>>,
    key: u64,
}

impl<P: Process> Drop for Done<P> {
    fn drop(&mut self) {
        if let Some(session) = self.session.upgrade() {
            session.forget_task(self.key, false);
        }
    }
}

/// Sends a session's process a message from what belongs to it, such as a subscription that is dropped. Like a timer's
/// it is no use of the session; one that has ended ignores it.
pub(crate) fn send_to_session<P, M>(session: &Weak<Session<P>>, message: M)
where
    P: Handle<M>,
    M: Send + 'static,
{
    if let Some(session) = session.upgrade() {
        post_to_itself(session, message);
    }
}

/// Names a timer or an effect of a session, to cancel it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskKey(u64);

/// A reply that will be sent later. See [`Context::defer_reply`].
#[derive(Debug)]
#[must_use = "a reply that is dropped fails the call"]
pub struct ReplySender<T>(oneshot::Sender<T>);

impl<T> ReplySender<T> {
    /// Sends the reply. Returns false if nobody waits for it any more.
    pub fn send(self, reply: T) -> bool {
        self.0.send(reply).is_ok()
    }

    /// Nobody waits for this reply any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The reply type of a handler that replies later. See [`Context::defer_reply`].
#[derive(Debug)]
pub struct Deferred<T>(oneshot::Receiver<T>);

impl<T> Deferred<T> {
    pub(crate) async fn recv(self) -> Option<T> {
        self.0.await.ok()
    }
}
