//! One session on this node: its id, its mailbox, its clocks and its process.
//!
//! # Invariants
//! 1. `core` is borrowed by the holder of the run right alone; a borrow that fails is a bug in the engine.
//! 2. The first to write `ending` decides, before it closes the mailbox; who reads it after that reads the reason. Only
//!    [`Session::only_sleeps`] writes it again.

use std::{
    any::Any,
    hint::black_box,
    mem::offset_of,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use atomic_refcell::AtomicRefCell;
use sync_wrapper::SyncWrapper;
use tokio::sync::watch;

use super::{
    Engine, Recipe,
    chain::Frame,
    deliver,
    guard::{Polled, caught, drop_quietly, poll_in_place},
    keep::{self, Keep, Kept},
    life::{LastUsed, Life, Limits},
    lifecycle,
    mailbox::{Close, Item, Mailbox, Push, Queue, RunRight},
    observe::Observers,
    room,
    run::{self, Turn},
    side::{Killed, Side},
};
use crate::{
    CallError, Context, EndReason, Follower, LoadError, Process, SessionId, SharedError, clock::nanos, process::Expiry,
    store::Version, sync::Mutex,
};

/// In this order in memory. First what a message in place writes, right behind the counts of the `Arc`: a line of the
/// cache that was written travels between cores, and each costs as much as all the instructions of a message. Then what
/// such a message reads, and last what is for those that wait, start or end.
#[repr(C)]
pub(crate) struct Session<P: Process> {
    right: RunRight,
    /// The id is another one by now, in `side`.
    rotated: AtomicBool,
    /// Its `init` has succeeded.
    ready: AtomicBool,
    ending: AtomicU8,
    last_used: LastUsed,
    pub(super) core: AtomicRefCell<SyncWrapper<Core<P>>>,
    limits: Limits,
    pub(super) engine: Arc<Engine>,
    id: SessionId,
    pub(super) side: Mutex<Side>,
    queue: Queue<Arc<dyn Envelope<P>>>,
    /// Where its state is kept, if it is.
    pub(crate) kept: Option<Arc<Kept>>,
}

/// The engine and the id.
pub(super) const READ_ONLY: usize = size_of::<Arc<Engine>>() + size_of::<SessionId>();

/// What only the holder of the run right touches.
#[repr(C)]
pub(super) struct Core<P: Process> {
    /// `None` before `init` has succeeded, between a crash and the restart, and after the end.
    pub(super) process: Option<P>,
    pub(super) cx: Context<P>,
    pub(super) beside: Option<Box<Beside<P>>>,
    /// How to begin anew after a crash. Allocates nothing for a process without arguments.
    pub(super) recipe: Box<dyn Recipe<P>>,
}

/// What lies beside a process that is durable or observed. All others pay one word for it.
pub(super) struct Beside<P> {
    /// Of a durable process.
    pub(super) keep: Option<Keep>,
    /// Who sees its state, if anybody does.
    pub(super) observers: Observers<P>,
}

impl<P> Default for Beside<P> {
    fn default() -> Self {
        Self {
            keep: None,
            observers: Observers::default(),
        }
    }
}

impl<P> Beside<P> {
    pub(super) fn durable() -> Self {
        Self {
            keep: Some(Keep::default()),
            ..Self::default()
        }
    }

    /// Of a durable process.
    pub(super) fn keep(of: &mut Option<Box<Self>>) -> Option<&mut Keep> {
        Self::both(of).map(|(keep, _)| keep)
    }

    /// Of a durable process, with those who see it.
    pub(super) fn both(of: &mut Option<Box<Self>>) -> Option<(&mut Keep, &mut Observers<P>)> {
        let Self { keep, observers } = of.as_deref_mut()?;
        Some((keep.as_mut()?, observers))
    }
}

/// A message in the mailbox, whatever its type.
pub(super) trait Envelope<P: Process>: Send + Sync {
    /// The future that handles it and replies; `None` if its sender took it back.
    fn open(self: Arc<Self>, session: Arc<Session<P>>) -> Option<run::Run>;
    fn refuse(&self, why: Failure);
    /// The part of the chain that its sender waits in, if it waits.
    fn frame(&self) -> Option<Arc<Frame>> {
        None
    }
    /// It sets the session's idle time back.
    fn is_use(&self) -> bool {
        false
    }
    /// Its sender took it back.
    fn is_gone(&self) -> bool {
        false
    }
}

impl<P: Process> Item for Arc<dyn Envelope<P>> {
    fn is_gone(&self) -> bool {
        (**self).is_gone()
    }
}

/// Why a message was not handled.
#[derive(Clone)]
pub(crate) enum Failure {
    Crashed,
    Ended(EndReason),
    InitFailed(Option<SharedError>),
}

impl Failure {
    /// There is no such session in the store.
    pub(super) fn is_not_there(&self) -> bool {
        matches!(self, Self::InitFailed(Some(source)) if source.is::<lifecycle::NotThere>())
    }

    pub(super) fn into_call_error<M>(self, id: SessionId, message: Option<M>) -> CallError<M> {
        match (self, message) {
            (Self::Crashed, message) => CallError::Crashed { id, message },
            (Self::Ended(reason), message) => CallError::Ended { id, reason, message },
            // Of one that was to come from the store: the same as for whoever had it come.
            (failure @ Self::InitFailed(_), Some(message)) if failure.is_not_there() => {
                CallError::NotStarted { id, message }
            }
            (Self::InitFailed(source), Some(message)) => {
                let load = source.as_ref().and_then(|source| source.downcast_ref::<LoadError>());
                match load.cloned() {
                    Some(source) => CallError::NotLoaded { id, source, message },
                    None => CallError::InitFailed { id, source, message },
                }
            }
            // Nothing is handled before `init` is done, so the message is always there.
            (Self::InitFailed(_), None) => CallError::Crashed { id, message: None },
        }
    }
}

/// What happens to the messages that wait when a session is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// They go back to their senders.
    Refuse,
    /// They are handled first.
    Handle,
}

impl<P: Process> Session<P> {
    /// A session whose process is to be started by the caller, who holds the run right.
    pub(super) fn starting(
        engine: &Arc<Engine>,
        id: &SessionId,
        life: (LastUsed, Limits),
        recipe: Box<dyn Recipe<P>>,
    ) -> Arc<Self> {
        let (last_used, limits) = life;
        let records = engine.records.as_ref().filter(|_| P::DURABILITY.0.is_some());
        let kept = records.map(|records| Kept::new(records, id));
        Arc::new(Self {
            engine: Arc::clone(engine),
            right: RunRight::held(),
            queue: Queue::new(),
            last_used,
            limits,
            core: AtomicRefCell::new(SyncWrapper::new(Core {
                process: None,
                cx: Context::new(),
                recipe,
                beside: kept.as_ref().map(|_| Box::new(Beside::durable())),
            })),
            kept,
            side: Mutex::new(Side::default()),
            id: id.clone(),
            rotated: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            ending: AtomicU8::new(0),
        })
    }

    /// One of the registry's, if it is of this process type.
    #[inline]
    pub(crate) fn of(session: Arc<dyn AnySession>) -> Option<Arc<Self>> {
        let session: Arc<dyn Any + Send + Sync> = session;
        session.downcast().ok()
    }

    #[inline]
    pub(super) fn mailbox(&self) -> Mailbox<'_, Arc<dyn Envelope<P>>> {
        Mailbox::of(&self.right, &self.queue)
    }

    #[inline]
    pub(super) fn life(&self) -> Life<'_> {
        Life::of(&self.last_used, &self.limits)
    }

    /// Stands for this session in chains of calls, while it is alive.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// It was to end for good, and is in use elsewhere. Only for the holder of the run right that ends it.
    pub(super) fn only_sleeps(&self) -> EndReason {
        self.ending.store(EndReason::Asleep.code(), Ordering::Release);
        EndReason::Asleep
    }

    pub(super) fn end_reason(&self) -> Option<EndReason> {
        EndReason::from_code(self.ending.load(Ordering::Acquire))
    }

    /// Has the session end for `reason`, unless another was first: now, if nobody runs, else when the message at
    /// work is done.
    pub(super) fn request_end(self: &Arc<Self>, reason: EndReason, leftover: Leftover) {
        if self.close(reason, leftover) == Close::Begin {
            lifecycle::end_in_place(Turn::new(Arc::clone(self)));
        }
    }

    /// Closes the mailbox; what that asks of the caller is in the result.
    pub(super) fn close(&self, reason: EndReason, leftover: Leftover) -> Close {
        let first = self
            .ending
            .compare_exchange(0, reason.code(), Ordering::AcqRel, Ordering::Acquire)
            .err()
            .and_then(EndReason::from_code);
        // Another may have been first with its reason, and comes second to the mailbox.
        let reason = first.unwrap_or(reason);
        let close = self.mailbox().close();
        if close != Close::Already && leftover == Leftover::Refuse {
            self.refuse_waiting(&Failure::Ended(reason));
        }
        close
    }

    /// Leaves a message of the engine's own, which no bound is for, and which takes up no place of a caller's. False: it is
    /// closed, and the message is not taken.
    pub(super) fn post(self: &Arc<Self>, envelope: Arc<dyn Envelope<P>>) -> bool {
        // In a task: behind this may come messages whose handlers take long, and the poster has more to do.
        self.post_to(envelope, run::spawn_drain)
    }

    /// The same for a poster that has nothing else to do: it is handled where we stand.
    pub(super) fn post_here(self: &Arc<Self>, envelope: Arc<dyn Envelope<P>>) -> bool {
        self.post_to(envelope, run::drain_in_place)
    }

    fn post_to(self: &Arc<Self>, envelope: Arc<dyn Envelope<P>>, drain: impl FnOnce(Turn<P>)) -> bool {
        match self.mailbox().push(envelope, None) {
            Push::Queued => true,
            Push::Begin => {
                let in_time = self.is_in_time(self.engine.now(), || {});
                if in_time {
                    drain(Turn::new(Arc::clone(self)));
                }
                in_time
            }
            Push::Full(_) => unreachable!("there is no bound"),
            Push::Closed(_) => false,
        }
    }

    /// For who has left a message where nobody ran, and now holds the run right: the session may have idled out before. Then
    /// it ends, what waits is refused, after `take_back`, and the right is given up.
    pub(super) fn is_in_time(self: &Arc<Self>, now: u64, take_back: impl FnOnce()) -> bool {
        let Some(expiry) = self.life().judge(now) else {
            return true;
        };
        take_back();
        self.close(EndReason::Expired(expiry), Leftover::Refuse);
        Arc::clone(self).proceed();
        false
    }

    /// Ends it, even if somebody is at work there, if it is past its deadline; or if somebody was told that it has expired,
    /// just before a message that is at work had to wait. Whoever is at work finishes the message at hand; what waits is
    /// too late.
    pub(super) fn end_if_over(self: &Arc<Self>, now: u64) -> bool {
        let Some(expiry) = self.life().look(now, true) else {
            return false;
        };
        self.request_end(EndReason::Expired(expiry), Leftover::Refuse);
        true
    }

    pub(super) fn refuse_waiting(&self, why: &Failure) {
        for envelope in self.mailbox().take() {
            envelope.refuse(why.clone());
            // Where nobody waits for the message, it is still in there, and is the user's: its `Drop` must not keep the
            // others waiting.
            let _ = drop_quietly(envelope);
        }
    }

    /// For the holder of the run right whose message is done: gives the right up, or sees to what came meanwhile.
    #[inline]
    pub(super) fn proceed(self: Arc<Self>) {
        if !self.mailbox().release() {
            self.proceed_with(run::spawn_drain);
        }
    }

    /// The same for a sender, which lends a hand with the queue.
    #[inline]
    pub(super) fn proceed_here(self: Arc<Self>) {
        if !self.mailbox().release() {
            self.proceed_with(run::drain_in_place);
        }
    }

    #[cold]
    fn proceed_with(self: Arc<Self>, drain: impl FnOnce(Turn<P>)) {
        if self.mailbox().is_closed() && self.mailbox().waiting() == 0 {
            lifecycle::end_in_place(Turn::new(self));
        } else {
            drain(Turn::new(self));
        }
    }

    /// Runs `future`, which holds the run right of a session that is in time, or ends, where we stand; what doesn't finish there goes on in a task.
    pub(super) fn run_in_place(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) {
        if !super::deliver::may_run_here(&self.engine, self.address()) {
            self.mailbox().away();
            self.spawn(future);
            return;
        }
        let mut future = room::place(future);
        match poll_in_place(self.address(), false, future.as_mut()) {
            Polled::Ready(()) => room::keep(future),
            Polled::Pending(_) => {
                self.mailbox().away();
                self.spawn(future);
            }
            Polled::Panicked(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a future that holds the run right in a task of its own, which [`AnySession::kill`] can abort.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let Some(run) = self.side.lock().announce_run() else {
            // Its `Turn` sees to the end.
            let _ = drop_quietly(task);
            return;
        };
        let session = Arc::clone(self);
        // Not under the lock: a runtime that is shutting down drops the task at once, and its `Turn` takes the lock.
        let task = self.engine.runtime.spawn(async move {
            task.await;
            session.side.lock().run_is_over(run);
        });
        let unwanted = self.side.lock().keep_run(run, task.abort_handle());
        if let Some(task) = unwanted {
            task.abort();
        }
    }

    /// Runs a timer or an effect, which ends with the session.
    pub(crate) fn spawn_task<F>(&self, task: impl FnOnce(u64) -> F) -> u64
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(key) = self.side.lock().announce_task() else {
            return 0;
        };
        // Not under the lock, for the same reason.
        let task = self.engine.runtime.spawn(task(key)).abort_handle();
        let unwanted = self.side.lock().keep_task(key, task);
        if let Some(task) = unwanted {
            // Done by now, which an abort doesn't change; or cancelled meanwhile, or the session has ended.
            task.abort();
        }
        key
    }

    /// Takes a timer or an effect off the list. Returns whether it was there.
    pub(crate) fn forget_task(&self, key: u64, abort: bool) -> bool {
        let Some(task) = self.side.lock().take_task(key) else {
            return false;
        };
        if let (Some(task), true) = (task, abort) {
            task.abort();
        }
        true
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

/// A session of any process type, as the registry keeps it.
pub(crate) trait AnySession: Any + Send + Sync {
    fn is(&self, id: &SessionId) -> bool;
    /// This is its id, and it is not closed.
    fn is_open_as(&self, id: &SessionId) -> bool;
    fn id(&self) -> SessionId;
    /// For the registry, under the locks of both shards.
    fn set_id(&self, id: SessionId);
    /// Its id is another one since `now`.
    fn rotated_at(&self, now: u64);
    /// Its user proves who they are at `now`.
    fn set_authenticated(&self, now: u64);
    fn authenticated(&self) -> Option<u64>;
    fn process(&self) -> &'static str;
    fn life(&self) -> Life<'_>;
    /// Started, not ended, not expired. Once it is not, it never is again.
    fn is_live(&self, now: u64) -> bool;
    /// Its time is up, whether it has been judged or not.
    fn is_expired(&self, now: u64) -> bool;
    /// Ended or about to: it serves nobody any more.
    fn is_closed(&self) -> bool;
    /// Reads some of it, so that the cache fetches it: whoever goes through many doesn't wait for the memory of each in
    /// turn. Takes no lock.
    fn prefetch(&self);
    /// Where in it the part begins that a message reads and hardly anybody writes: [`READ_ONLY`] bytes.
    fn read_only_at(&self) -> usize;
    fn touch(&self, now: u64) -> bool;
    fn end(self: Arc<Self>, reason: EndReason, leftover: Leftover);
    /// Ends the session if its time is up. Returns whether it was.
    fn expire(self: Arc<Self>, now: u64) -> bool;
    /// Waits until it has begun, or failed to.
    fn started(self: Arc<Self>, deadline: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    fn is_ready(&self) -> bool;
    /// Cuts off a handler that waits. False: it has been killed before, or has ended.
    fn kill(self: Arc<Self>, reason: EndReason) -> bool;
    fn watch_end(&self) -> watch::Receiver<Option<EndReason>>;
    fn monitor(&self) -> Monitor;
    /// Adds one who is told of rotations and of the end; false if that is behind it.
    fn follow(&self, follower: Weak<dyn Follower>) -> bool;
    /// Tells those who follow that the id is another one.
    fn tell_rotated(&self);
    fn stats(&self, now: u64) -> SessionStats;
    fn in_chain(&self) -> bool;
    /// Where its state is kept, if it is.
    fn kept(&self) -> Option<Arc<Kept>>;
    /// It has changes that are not in the store yet, and nobody works on it.
    fn is_unsaved(&self) -> bool;
    /// Its record has this version now, which may be the work of another node. `None`: it may be anything.
    fn heard(self: Arc<Self>, version: Option<Version>);
    /// When the sweeper has something to do here: it expires, or goes to sleep.
    fn due_at(&self) -> u64;
    /// Puts it to sleep, if it may and is due. Returns whether it does.
    fn sleep(self: Arc<Self>, now: u64) -> bool;
}

impl<P: Process> AnySession for Session<P> {
    #[inline]
    fn is(&self, id: &SessionId) -> bool {
        if !self.rotated.load(Ordering::Acquire) {
            return self.id == *id;
        }
        self.side.lock().peek().and_then(|extras| extras.id.as_ref()) == Some(id)
    }

    fn is_open_as(&self, id: &SessionId) -> bool {
        !self.mailbox().is_closed() && self.is(id)
    }

    fn id(&self) -> SessionId {
        if !self.rotated.load(Ordering::Acquire) {
            return self.id.clone();
        }
        let side = self.side.lock();
        let id = side.peek().and_then(|extras| extras.id.clone());
        id.expect("`set_id` put it there")
    }

    fn set_id(&self, id: SessionId) {
        let mut side = self.side.lock();
        side.extras().id = Some(id);
        self.rotated.store(true, Ordering::Release);
    }

    fn rotated_at(&self, now: u64) {
        self.side.lock().extras().id_since = Some(now);
    }

    fn set_authenticated(&self, now: u64) {
        self.side.lock().extras().authenticated = Some(now);
    }

    fn authenticated(&self) -> Option<u64> {
        self.side.lock().peek().and_then(|extras| extras.authenticated)
    }

    fn process(&self) -> &'static str {
        std::any::type_name::<P>()
    }

    fn life(&self) -> Life<'_> {
        Self::life(self)
    }

    fn is_live(&self, now: u64) -> bool {
        self.is_ready() && !self.mailbox().is_closed() && self.life().look(now, self.mailbox().is_in_use()).is_none()
    }

    fn is_expired(&self, now: u64) -> bool {
        self.life().is_expired(now, self.mailbox().is_in_use())
    }

    fn is_closed(&self) -> bool {
        self.mailbox().is_closed()
    }

    #[inline]
    fn prefetch(&self) {
        // One of each line of the cache that a session with a small state lies on. Nothing here needs the values, so the
        // processor asks for all of them at once.
        black_box((self.life().expires_at(), self.side.is_locked(), self.kept.is_some()));
    }

    fn read_only_at(&self) -> usize {
        offset_of!(Self, engine)
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn touch(&self, now: u64) -> bool {
        self.is_ready() && !self.mailbox().is_closed() && self.life().touch(now, self.mailbox().is_in_use())
    }

    fn end(self: Arc<Self>, reason: EndReason, leftover: Leftover) {
        self.request_end(reason, leftover);
    }

    fn expire(self: Arc<Self>, now: u64) -> bool {
        if self.end_if_over(now) {
            return true;
        }
        if !self.mailbox().try_begin() {
            return false;
        }
        let expiry = self.life().judge(now);
        if let Some(expiry) = expiry {
            self.close(EndReason::Expired(expiry), Leftover::Refuse);
        }
        self.proceed();
        expiry.is_some()
    }

    fn kill(self: Arc<Self>, reason: EndReason) -> bool {
        let Killed { first, task } = self.side.lock().kill();
        // If nobody runs, there is nothing to cut off: a `Turn` that is dropped ends its session without a word.
        let idle = self.close(reason, Leftover::Refuse) == Close::Begin;
        let kept = self.kept.clone().filter(|_| !reason.keeps_record());
        let runtime = self.engine.runtime.clone();
        let turn = idle.then(|| Turn::new(self));
        let cut = move || {
            if let Some(task) = task {
                task.abort();
            }
            drop(turn);
        };
        match kept {
            None => cut(),
            // The id is free when the record is gone, so that nobody starts from what is being deleted. Nobody waits
            // for it: if the store fails, the record is there until it expires.
            Some(kept) => drop(runtime.spawn(async move {
                let _ = kept.delete().await;
                cut();
            })),
        }
        first
    }

    fn watch_end(&self) -> watch::Receiver<Option<EndReason>> {
        self.side.lock().watch_end()
    }

    fn monitor(&self) -> Monitor {
        Monitor {
            ended: self.watch_end(),
        }
    }

    fn follow(&self, follower: Weak<dyn Follower>) -> bool {
        self.side.lock().follow(follower)
    }

    fn tell_rotated(&self) {
        let followers = self.side.lock().followers();
        for follower in followers {
            // One that panics must not keep the others from hearing.
            let _ = caught(|| follower.rotated());
        }
    }

    fn stats(&self, now: u64) -> SessionStats {
        let side = self.side.lock();
        let extras = side.peek();
        SessionStats {
            process: self.process(),
            age: self.life().age(now),
            id_age: match extras.and_then(|extras| extras.id_since) {
                Some(since) => Duration::from_nanos(now.saturating_sub(since)),
                None => self.life().age(now),
            },
            idle_for: self.life().idle_for(now),
            expires_by: self.life().expires_by(),
            expires_in: match self.life().expires_at() {
                u64::MAX => None,
                at => Some(Duration::from_nanos(at.saturating_sub(now))),
            },
            running: self.mailbox().is_running(),
            waiting: self.mailbox().waiting(),
            monitors: extras.map_or(0, super::side::Extras::monitors),
            tasks: extras.map_or(0, super::side::Extras::tasks),
        }
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        self.kept.clone()
    }

    fn heard(self: Arc<Self>, version: Option<Version>) {
        match version {
            Some(version) => keep::heard(self, version),
            None => keep::take_over(&self),
        }
    }

    fn due_at(&self) -> u64 {
        match (&self.kept, self.engine.config.sleep_after) {
            (Some(_), Some(after)) => self.life().expires_at().min(self.life().idle_since(nanos(after))),
            _ => self.life().expires_at(),
        }
    }

    fn is_unsaved(&self) -> bool {
        let core = self.core.try_borrow_mut();
        core.is_ok_and(|mut core| keep::unsaved(core.get_mut()).is_some())
    }

    fn sleep(self: Arc<Self>, now: u64) -> bool {
        let (Some(_), Some(after)) = (&self.kept, self.engine.config.sleep_after) else {
            return false;
        };
        let is_used = || {
            let side = self.side.lock();
            side.peek().is_some_and(|extras| extras.monitors() + extras.tasks() > 0)
        };
        if is_used() || !self.is_ready() || !self.mailbox().try_begin() {
            return false;
        }
        let may_sleep = self.life().idle_since(nanos(after)) <= now && {
            let mut core = self.core.borrow_mut();
            let core = core.get_mut();
            let process = core.process.as_ref();
            let may = process.is_some_and(|process| caught(|| process.may_sleep()).unwrap_or(false));
            // What is not saved yet is saved first: if the store fails, memory has the only copy.
            may && keep::is_saved(&self, core)
        };
        // Again, as a message may have come between the first look and the run right. And what was accepted since then
        // is not to be refused: then it stays awake.
        let sleeps = may_sleep
            && !is_used()
            && self.mailbox().close_if_empty(|| {
                let code = EndReason::Asleep.code();
                let first = self
                    .ending
                    .compare_exchange(0, code, Ordering::AcqRel, Ordering::Relaxed);
                first.is_ok()
            });
        self.proceed();
        sleeps
    }

    fn started(self: Arc<Self>, deadline: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            deliver::started(&self, deadline).await;
        })
    }

    fn in_chain(&self) -> bool {
        super::chain::check(self.address()) == super::chain::Chain::Cycle
    }
}

/// What an engine knows of one session: [`Sessions::session_stats`](crate::Sessions::session_stats).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionStats {
    /// The type of its process.
    pub process: &'static str,
    /// Since its start.
    pub age: Duration,
    /// Since it has its present id, as far as this node knows: after a sleep, since its start.
    pub id_age: Duration,
    /// Since it was last used.
    pub idle_for: Duration,
    /// Until it expires, if nobody uses it; `None` if it has no time limit.
    pub expires_in: Option<Duration>,
    /// Which of its two clocks that is; `None` if it has no time limit.
    pub expires_by: Option<Expiry>,
    /// A message is being handled.
    pub running: bool,
    /// Messages in its mailbox; some of them may have been taken back by their senders.
    pub waiting: usize,
    /// [`Monitor`]s that follow it: its open pages.
    pub monitors: usize,
    /// Its timers and effects.
    pub tasks: usize,
}

/// Follows a session to its end: what an open page holds.
///
/// Made by [`Sessions::monitor`](crate::Sessions::monitor) or [`Context::monitor`](crate::Context::monitor). It
/// survives restarts of the process and rotations of the id, and doesn't keep the session alive. Dropping it is all
/// there is to do when a page goes away.
#[derive(Debug, Clone)]
pub struct Monitor {
    ended: watch::Receiver<Option<EndReason>>,
}

impl Monitor {
    /// Waits for the session's end and says why it came. Its terminate hook has run by then.
    ///
    /// # Cancel safety
    /// Nothing is lost; ask again.
    pub async fn ended(&mut self) -> EndReason {
        match self.ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.expect("waited for that"),
            // The engine was dropped without a shutdown.
            Err(_) => EndReason::Shutdown,
        }
    }

    /// Why the session ended, if it has.
    #[must_use]
    pub fn reason(&self) -> Option<EndReason> {
        *self.ended.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sessions;

    #[derive(Default)]
    struct Counter(u64);

    impl Process for Counter {}

    /// The counts of an `Arc`, before its value.
    const COUNTS: usize = 16;

    /// Each line of the cache that a message writes travels from the core that wrote it last, so that is to be one for
    /// a small state (two, where the allocator places it across).
    #[tokio::test]
    async fn what_a_message_writes_lies_together() {
        let sessions = Sessions::<Counter>::builder().build().unwrap();
        let id = SessionId::generate();
        sessions.start(&id).await.unwrap();
        let Ok(session) = deliver::find::<Counter>(sessions.engine(), &id) else {
            panic!("it is started");
        };
        let mut core = session.core.borrow_mut();
        let Counter(state) = core.get_mut().process.as_ref().expect("it is started");
        let end = std::ptr::from_ref(state).addr() + size_of::<u64>();
        assert!(COUNTS + end - session.address() <= 64);
    }

    /// With the registry and what the allocator adds, that is the 279 bytes of `idle_bytes_1m`; 350 are promised. (glibc
    /// adds 8, and goes by 16: one byte more would be 16.)
    #[test]
    fn a_session_with_a_small_state_takes_216_bytes_at_most() {
        assert!(COUNTS + size_of::<Session<Counter>>() <= 216);
    }
}
