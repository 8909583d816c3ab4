//! Bringing a message to a session: handled where the caller stands, if the session is idle.
//!
//! # Guarantees
//! 1. A message is handled whole or not at all. A caller that goes away, by a deadline or by being dropped, takes a
//!    message back that nobody began to handle; a handler that has begun goes on to its end.
//! 2. Messages of one sender are handled in the order in which it sent them.
//! 3. A message that was not handled is in the error.

use std::{
    any::type_name,
    cell::Cell,
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    Engine,
    chain::{self, Chain, Frame},
    guard::{Guarded, Panic, panic_text, poll_caught, poll_here},
    keep::{self, Batch},
    lifecycle,
    mailbox::Push,
    observe, room,
    run::{self, Run, Turn},
    session::{AnySession, Core, Envelope, Failure, Leftover, Session},
    ticket::{Outcome, Ticket, Withdrawn},
};
use crate::{
    CallError, CastError, EndReason, Handle, Process, PublicHandle, SaveError, SessionId, SharedError, StartError,
    clock::nanos, events::Event,
};

/// Whether a handler may begin in this very poll: not too deep inside others, and in the engine's runtime, which the
/// user's code binds its timers and sockets to.
#[inline]
pub(super) fn may_run_here(engine: &Engine, session: usize) -> bool {
    chain::check(session) != Chain::TooDeep && at_home(engine)
}

thread_local! {
    /// A task that was seen to be in a runtime. A task stays in its runtime, so the two are asked about once.
    static SEEN: Cell<Option<(tokio::task::Id, tokio::runtime::Id)>> = const { Cell::new(None) };
}

/// Whether the code on this thread is in the engine's runtime.
#[inline]
fn at_home(engine: &Engine) -> bool {
    let task = tokio::task::try_id();
    if task.is_some_and(|task| SEEN.get() == Some((task, engine.runtime_id))) {
        return true;
    }
    // Clones a handle; so not for every message.
    let home = tokio::runtime::Handle::try_current().is_ok_and(|runtime| runtime.id() == engine.runtime_id);
    if let (true, Some(task)) = (home, task) {
        SEEN.set(Some((task, engine.runtime_id)));
    }
    home
}

/// Who sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// Waits for the reply. The session is in use.
    Call,
    /// Does not wait. The session is in use.
    Cast,
    /// Does not wait. No use of the session.
    Broadcast,
    /// A timer or an effect of the session itself: no use, and not subject to the mailbox's bound, as there are no
    /// more of them than the process asked for.
    Itself,
}

impl Sender {
    fn waits(self) -> bool {
        matches!(self, Self::Call | Self::Itself)
    }

    fn is_use(self) -> bool {
        matches!(self, Self::Call | Self::Cast)
    }
}

/// A reply, and what it has to wait for: its caller must not have it before that is durable.
pub(super) struct Reply<R> {
    value: R,
    gate: Gate,
}

type Gate = Option<Arc<Batch>>;

impl<R> Reply<R> {
    /// Waits for nothing.
    fn free(value: R) -> Self {
        Self { value, gate: None }
    }
}

/// A message in a mailbox, with the place for its reply.
pub(super) struct Queued<M, R> {
    ticket: Ticket<M, Reply<R>, Failure>,
    frame: Option<Arc<Frame>>,
    is_use: bool,
}

/// For messages of the engine's own, whose replies wait for nothing.
impl<M, R> Queued<M, R> {
    pub(super) fn waiting(message: M, frame: Option<Arc<Frame>>) -> Self {
        Self {
            ticket: Ticket::queued(message),
            frame,
            is_use: false,
        }
    }

    pub(super) fn take(&self) -> Option<M> {
        self.ticket.open()
    }

    pub(super) fn done(&self, value: R) {
        self.ticket.reply(Reply::free(value));
    }

    pub(super) fn fail(&self, why: Failure) {
        self.ticket.refuse(why);
    }

    pub(super) fn chain(&self) -> Option<Arc<Frame>> {
        self.frame.clone()
    }

    pub(super) fn was_taken_back(&self) -> bool {
        self.ticket.is_gone()
    }
}

impl<P, M> Envelope<P> for Queued<M, P::Reply>
where
    P: Handle<M>,
    M: Send + 'static,
{
    fn open(self: Arc<Self>, session: Arc<Session<P>>) -> Option<Run> {
        let message = self.ticket.open()?;
        Some(Box::pin(async move {
            let Handled { session, outcome } = handle::<P, M, false>(session, message).await;
            match outcome {
                Ok((reply, stop)) => {
                    if let Some(reason) = stop {
                        // Before the reply: who has it finds the session closed.
                        session.close(reason, Leftover::Refuse);
                    }
                    self.ticket.reply(reply);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }))
    }

    fn refuse(&self, why: Failure) {
        self.ticket.refuse(why);
    }

    fn frame(&self) -> Option<Arc<Frame>> {
        self.frame.clone()
    }

    fn is_use(&self) -> bool {
        self.is_use
    }

    fn is_gone(&self) -> bool {
        self.ticket.is_gone()
    }
}

/// A handler that is through, and its session back from it.
struct Handled<P: Process, R> {
    session: Arc<Session<P>>,
    outcome: Result<(Reply<R>, Option<EndReason>), Panic>,
}

thread_local! {
    /// The session of a handler that has to wait, on its way from the future that owns it to the one who polled it.
    static HANDED_OVER: Cell<Option<Arc<dyn AnySession>>> = const { Cell::new(None) };
}

/// Owns the session, so that the future can move to a task; and gives it back, so that a handler that ends in place
/// pays for no second count. With `IN_PLACE`, for one whose first poll is not in a task: if that has to wait, the one
/// who polled needs the session too and finds it in [`HANDED_OVER`].
async fn handle<P, M, const IN_PLACE: bool>(session: Arc<Session<P>>, message: M) -> Handled<P, P::Reply>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let outcome = {
        let mut core = session.core.borrow_mut();
        let Core { process, cx, .. } = core.get_mut();
        let process = process.as_mut().expect("a started session has a process");
        let handled = {
            // In an `async` block, so that a handler that panics before it has made its future is caught too.
            let mut handling = pin!(async { process.handle(message, cx).await });
            let mut hand_over = IN_PLACE.then_some(&session);
            poll_fn(move |task| {
                let polled = poll_caught(handling.as_mut(), task);
                if polled.is_pending()
                    && let Some(session) = hand_over.take()
                {
                    HANDED_OVER.set(Some(Arc::clone(session) as Arc<dyn AnySession>));
                }
                polled
            })
            .await
        };
        handled.map(|value| {
            let core = core.get_mut();
            let gate = match &core.beside {
                None => None,
                Some(_) => {
                    observe::handled(&session, core);
                    keep::handled(&session, core)
                }
            };
            (Reply { value, gate }, core.cx.take_stop())
        })
    };
    Handled { session, outcome }
}

enum Attempt<M, R> {
    Replied(Reply<R>),
    /// The reply will be in the ticket.
    Waiting(Arc<Queued<M, R>>),
    /// Delivered; nobody waits.
    Sent,
    Refused(Refusal, M),
    Panicked,
}

enum Refusal {
    NotStarted,
    MailboxFull,
    SelfCall,
}

fn attempt<P, M>(session: Arc<Session<P>>, message: M, sender: Sender) -> Attempt<M, P::Reply>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let address = session.address();
    let chain = chain::check(address);
    if chain == Chain::Cycle && sender == Sender::Call {
        return Attempt::Refused(Refusal::SelfCall, message);
    }
    let begun = match chain {
        Chain::Free => at_home(&session.engine) && session.mailbox().try_begin_soon(),
        // A message to one that is at work further down this very stack: it can't be done before we are.
        Chain::Cycle => at_home(&session.engine) && session.mailbox().try_begin(),
        Chain::TooDeep => false,
    };
    if begun {
        handle_here(session, message, sender)
    } else {
        leave(session, message, sender)
    }
}

/// Handles a message in this poll. The caller holds the run right.
fn handle_here<P, M>(session: Arc<Session<P>>, message: M, sender: Sender) -> Attempt<M, P::Reply>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let now = session.engine.now();
    if let Some(expiry) = session.life().judge(now) {
        session.close(EndReason::Expired(expiry), Leftover::Refuse);
        session.proceed();
        return Attempt::Refused(Refusal::NotStarted, message);
    }
    if sender.is_use() {
        session.life().used(now);
    }
    let address = session.address();
    let mut run = room::place(handle::<P, M, true>(session, message));
    let frame = match poll_here(address, sender == Sender::Call, run.as_mut()) {
        Ok(Handled { session, outcome }) => {
            room::keep(run);
            return match outcome {
                Ok((reply, stop)) => {
                    if let Some(reason) = stop {
                        session.close(reason, Leftover::Refuse);
                    }
                    // Not for a call, whose reply is there: its caller shall have it now. And not inside a handler,
                    // which may hold what the others need.
                    if sender == Sender::Cast && !chain::in_a_handler() {
                        session.proceed_here();
                    } else {
                        session.proceed();
                    }
                    Attempt::Replied(reply)
                }
                Err(panic) => {
                    crashed_here(session, panic);
                    Attempt::Panicked
                }
            };
        }
        Err(frame) => frame,
    };
    let session = handed_over::<P>();
    session.mailbox().away();
    let queued = Arc::new(Queued {
        ticket: if sender.waits() {
            Ticket::begun()
        } else {
            Ticket::begun_one_way()
        },
        frame: frame.clone(),
        is_use: sender.is_use(),
    });
    let turn = Turn::at(Arc::clone(&session), Arc::clone(&queued) as Arc<dyn Envelope<P>>);
    let run = Guarded::new(address, frame, run);
    session.spawn(go_on(turn, run, Arc::clone(&queued), sender));
    Attempt::Waiting(queued)
}

fn handed_over<P: Process>() -> Arc<Session<P>> {
    let session = HANDED_OVER.take().expect("a handler that waits hands its session over");
    let session: Arc<dyn std::any::Any + Send + Sync> = session;
    session.downcast().expect("it was the last to be polled on this thread")
}

/// After a panic in place: whoever waits learns of it now, and the session recovers in a task.
fn crashed_here<P: Process>(session: Arc<Session<P>>, panic: Panic) {
    session.side.lock().stop_tasks();
    // Here and not in the task: what comes from now on is for the process after the crash.
    session.refuse_waiting(&Failure::Crashed);
    let turn = Turn::new(Arc::clone(&session));
    session.spawn(lifecycle::recover(turn, panic_text(panic)));
}

/// The rest of a handler that had to wait, and then of what came meanwhile.
async fn go_on<P, M, F>(mut turn: Turn<P>, run: Guarded<F>, queued: Arc<Queued<M, P::Reply>>, sender: Sender)
where
    P: Handle<M>,
    M: Send + 'static,
    F: Future<Output = Handled<P, P::Reply>> + Unpin + Send,
{
    let handled = match run.await {
        Ok(Handled { session, outcome }) => outcome.map(|handled| (session, handled)),
        Err(panic) => Err(panic),
    };
    match handled {
        Ok((session, (reply, stop))) => {
            turn.clear();
            if sender.is_use() {
                session.life().used(session.engine.now());
            }
            if let Some(reason) = stop {
                session.close(reason, Leftover::Refuse);
            }
            queued.ticket.reply(reply);
            run::drain(turn).await;
        }
        Err(panic) => {
            turn.clear();
            run::crash(turn, panic_text(panic), || queued.ticket.refuse(Failure::Crashed)).await;
        }
    }
}

/// Leaves a message in the mailbox.
fn leave<P, M>(session: Arc<Session<P>>, message: M, sender: Sender) -> Attempt<M, P::Reply>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let now = session.engine.now();
    if session.life().past_deadline(now) {
        Arc::clone(&session).expire(now);
        return Attempt::Refused(Refusal::NotStarted, message);
    }
    let (ticket, frame) = match sender {
        Sender::Call => (Ticket::queued(message), chain::frame_for_queued_call(session.address())),
        Sender::Cast | Sender::Broadcast => (Ticket::one_way(message), None),
        Sender::Itself => (Ticket::queued(message), None),
    };
    let queued = Arc::new(Queued {
        ticket,
        frame,
        is_use: sender.is_use(),
    });
    let capacity = match sender {
        Sender::Itself => usize::MAX,
        _ => session.engine.config.mailbox_capacity,
    };
    let mut push = session
        .mailbox()
        .push(Arc::clone(&queued) as Arc<dyn Envelope<P>>, capacity);
    if let Push::Full(envelope) = push {
        // Messages whose senders took them back still have their places.
        let withdrawn = session.engine.withdrawn.load(Ordering::Acquire);
        session.mailbox().clear_out(withdrawn, |envelope| !envelope.is_gone());
        push = session.mailbox().push(envelope, capacity);
    }
    let refusal = match push {
        Push::Queued => None,
        Push::Begin => {
            // Nobody ran, so the session may have idled out before this message came.
            match session.life().judge(now) {
                // The holder left just before this message came. Inside a handler, which may hold what the others
                // need, that is for a task.
                None if chain::in_a_handler() => run::spawn_drain(Turn::new(Arc::clone(&session))),
                None => run::drain_in_place(Turn::new(Arc::clone(&session))),
                Some(expiry) => {
                    // `None`: whoever ends the session just now has refused it already, and the ticket says so.
                    let message = queued.ticket.open();
                    session.close(EndReason::Expired(expiry), Leftover::Refuse);
                    Arc::clone(&session).proceed();
                    if let Some(message) = message {
                        return Attempt::Refused(Refusal::NotStarted, message);
                    }
                }
            }
            None
        }
        Push::Full(_) => Some(Refusal::MailboxFull),
        Push::Closed(_) => Some(Refusal::NotStarted),
    };
    if let Some(refusal) = refusal {
        let message = queued.ticket.open().expect("it was not accepted");
        return Attempt::Refused(refusal, message);
    }
    if sender.is_use() {
        session.life().touch(now, true);
    }
    match sender {
        Sender::Cast | Sender::Broadcast => Attempt::Sent,
        Sender::Call | Sender::Itself => Attempt::Waiting(queued),
    }
}

/// Waits for a reply, until `deadline`.
pub(super) async fn reply<M, R>(
    engine: &Engine,
    queued: Arc<Queued<M, R>>,
    deadline: u64,
) -> Result<Reply<R>, NoReply<M>> {
    let mut wait = Wait {
        engine,
        queued: Some(&queued),
    };
    let outcome = match patience(&queued.ticket).await {
        Some(outcome) => Some(outcome),
        None => {
            let reply = poll_fn(|cx| queued.ticket.poll(cx));
            engine.clock.before(deadline, reply).await
        }
    };
    wait.over();
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => match withdraw(engine, &queued) {
            Withdrawn::NotBegun(message) => return Err(NoReply::Timeout(Some(message))),
            Withdrawn::Begun => return Err(NoReply::Timeout(None)),
            // It came at the last moment.
            Withdrawn::Done(outcome) => outcome,
        },
    };
    outcome.map_err(|(why, message)| NoReply::Failed(why, message))
}

/// Lets the others have a turn and looks again: most replies are there by then. That spares a timer for the deadline
/// and a wake-up, which cost more than the message itself.
async fn patience<M, R>(ticket: &Ticket<M, R, Failure>) -> Option<Outcome<M, R, Failure>> {
    /// Each look is a turn of the caller's task; after a few the reply is worth a timer.
    const LOOKS: usize = 4;
    let mut looks = 0;
    poll_fn(|cx| match ticket.look() {
        Some(outcome) => Poll::Ready(Some(outcome)),
        None if looks == LOOKS => Poll::Ready(None),
        None => {
            looks += 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

pub(super) enum NoReply<M> {
    Timeout(Option<M>),
    Failed(Failure, Option<M>),
}

/// The caller's side of a wait: dropped before its time, it takes the message back.
struct Wait<'a, M, R> {
    engine: &'a Engine,
    queued: Option<&'a Queued<M, R>>,
}

impl<M, R> Wait<'_, M, R> {
    fn over(&mut self) {
        if let Some(frame) = self.queued.take().and_then(|queued| queued.frame.as_ref()) {
            frame.caller_left();
        }
    }
}

impl<M, R> Drop for Wait<'_, M, R> {
    fn drop(&mut self) {
        if let Some(queued) = self.queued {
            self.over();
            drop(withdraw(self.engine, queued));
        }
    }
}

fn withdraw<M, R>(engine: &Engine, queued: &Queued<M, R>) -> Withdrawn<M, Reply<R>, Failure> {
    let withdrawn = queued.ticket.withdraw();
    // After it, so that who reads the new count finds the message gone.
    engine.withdrawn.fetch_add(1, Ordering::Release);
    withdrawn
}

pub(super) fn find<P: Process>(engine: &Engine, id: &SessionId) -> Result<Arc<Session<P>>, NotFound> {
    let any: Arc<dyn std::any::Any + Send + Sync> = engine.registry.get(id).ok_or(NotFound::NotStarted)?;
    any.downcast::<Session<P>>().map_err(|_| NotFound::WrongProcess)
}

pub(super) enum NotFound {
    NotStarted,
    WrongProcess,
}

pub(super) fn process_of(engine: &Engine, id: &SessionId) -> &'static str {
    engine
        .registry
        .with(id, |session| session.process())
        .unwrap_or("another process")
}

pub(crate) async fn call<P, M>(
    engine: &Arc<Engine>,
    id: &SessionId,
    message: M,
    within: Duration,
) -> Result<P::Reply, CallError<M>>
where
    P: Handle<M>,
    M: Send + 'static,
{
    // A caller whose calls all end in place would otherwise never let others have its thread. Before anything is
    // sent, so that a caller dropped here has sent nothing.
    chain::take_turn().await;
    let begun = engine.events.watched().then(Instant::now);
    let mut result = call_once::<P, M>(engine, id, message, within, None).await;
    if P::DURABILITY.0.is_some() && engine.records.is_some() {
        result = awake::<P, M>(engine, id, result, within).await;
    }
    report::<M>(
        engine,
        id,
        begun,
        result.as_ref().err().map(CallError::kind),
        |session, message, took| Event::Called { session, message, took },
    );
    result
}

/// Tells how a message fared: a failure always, a success if it was watched from when it was sent.
#[inline]
fn report<M>(
    engine: &Engine,
    id: &SessionId,
    begun: Option<Instant>,
    error: Option<&'static str>,
    done: impl FnOnce(PublicHandle, &'static str, Duration) -> Event,
) {
    let message = type_name::<M>();
    match (error, begun) {
        (Some(error), _) => engine.events.emit(|| Event::MessageFailed {
            session: id.public_handle(),
            message,
            error,
        }),
        (None, Some(begun)) => engine
            .events
            .emit(|| done(id.public_handle(), message, begun.elapsed())),
        (None, None) => {}
    }
}

/// How often a message wakes its session: once, and again where that goes to sleep in the very next moment.
pub(super) const WAKES: usize = 3;

/// A message to a session that sleeps wakes it and is sent again.
async fn awake<P, M>(
    engine: &Arc<Engine>,
    id: &SessionId,
    mut result: Result<P::Reply, CallError<M>>,
    within: Duration,
) -> Result<P::Reply, CallError<M>>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let deadline = engine.now().saturating_add(nanos(within));
    for _ in 0..WAKES {
        let message = match result {
            Err(
                CallError::NotStarted { message, .. }
                | CallError::Ended {
                    reason: EndReason::Asleep,
                    message: Some(message),
                    ..
                },
            ) => message,
            other => return other,
        };
        let id = id.clone();
        result = match Box::pin(lifecycle::wake::<P>(engine, &id, within, deadline)).await {
            Ok(true) => Box::pin(call_once::<P, M>(engine, &id, message, within, Some(deadline))).await,
            Ok(false) => return Err(CallError::NotStarted { id, message }),
            Err(error) => return Err(not_awake(id, within, message, error)),
        };
    }
    result
}

/// There is a session, and it could not be woken.
pub(super) fn not_awake<M>(id: SessionId, within: Duration, message: M, error: StartError) -> CallError<M> {
    match error {
        StartError::NotLoaded { source, .. } => CallError::NotLoaded { id, source, message },
        StartError::Timeout { .. } => {
            let message = Some(message);
            CallError::Timeout { id, within, message }
        }
        // A limit, a shutdown: it can't run here now.
        error => {
            let source = Some(Arc::new(error) as SharedError);
            CallError::InitFailed { id, source, message }
        }
    }
}

async fn call_once<P, M>(
    engine: &Engine,
    id: &SessionId,
    message: M,
    within: Duration,
    deadline: Option<u64>,
) -> Result<P::Reply, CallError<M>>
where
    P: Handle<M>,
    M: Send + 'static,
{
    // From now, unless the session had to be woken. Asked for only by those that wait.
    let until = || deadline.unwrap_or_else(|| engine.now().saturating_add(nanos(within)));
    let session = match find::<P>(engine, id) {
        Ok(session) => session,
        Err(NotFound::NotStarted) => {
            return Err(CallError::NotStarted {
                id: id.clone(),
                message,
            });
        }
        Err(NotFound::WrongProcess) => {
            return Err(CallError::WrongProcess {
                expected: type_name::<P>(),
                found: process_of(engine, id),
                id: id.clone(),
                message,
            });
        }
    };
    let queued = match attempt(session, message, Sender::Call) {
        Attempt::Replied(Reply { value, gate: None }) => return Ok(value),
        Attempt::Replied(reply) => return Box::pin(durable(engine, id, reply, within, until())).await,
        Attempt::Waiting(queued) => queued,
        Attempt::Sent => unreachable!("a call waits"),
        Attempt::Panicked => {
            return Err(CallError::Crashed {
                id: id.clone(),
                message: None,
            });
        }
        Attempt::Refused(refusal, message) => {
            let id = id.clone();
            return Err(match refusal {
                Refusal::NotStarted => CallError::NotStarted { id, message },
                Refusal::SelfCall => CallError::SelfCall { id, message },
                Refusal::MailboxFull => CallError::MailboxFull {
                    id,
                    capacity: engine.config.mailbox_capacity,
                    message,
                },
            });
        }
    };
    let deadline = until();
    let reply = reply(engine, queued, deadline)
        .await
        .map_err(|no_reply| match no_reply {
            NoReply::Timeout(message) => CallError::Timeout {
                id: id.clone(),
                within,
                message,
            },
            NoReply::Failed(failure, message) => failure.into_call_error(id.clone(), message),
        })?;
    match reply {
        Reply { value, gate: None } => Ok(value),
        reply => Box::pin(durable(engine, id, reply, within, deadline)).await,
    }
}

/// Lets a reply out when what it reflects is durable.
async fn durable<M, R>(
    engine: &Engine,
    id: &SessionId,
    reply: Reply<R>,
    within: Duration,
    deadline: u64,
) -> Result<R, CallError<M>> {
    let Reply { value, gate } = reply;
    let Some(batch) = gate else { return Ok(value) };
    let id = id.clone();
    match engine.clock.before(deadline, batch.wait()).await {
        Some(Ok(())) => Ok(value),
        Some(Err(source)) => Err(CallError::NotSaved { id, source }),
        None => {
            let message = None;
            Err(CallError::Timeout { id, within, message })
        }
    }
}

/// Waits until what a session has handled by now is durable: for a reply that came by another way.
pub(crate) async fn settled<P: Process, M>(
    engine: &Engine,
    id: &SessionId,
    within: Duration,
    deadline: u64,
) -> Result<(), CallError<M>> {
    let gone = || CallError::NotSaved {
        id: id.clone(),
        source: SaveError::Gone,
    };
    let session = find::<P>(engine, id).map_err(|_| gone())?;
    if session.kept.is_none() {
        return Ok(());
    }
    let queued = Arc::new(Queued::<(), ()>::waiting(
        (),
        chain::frame_for_queued_call(session.address()),
    ));
    if !session.post(Arc::new(Look(Arc::clone(&queued)))) {
        return Err(gone());
    }
    match reply(engine, queued, deadline).await {
        Ok(reply) => durable(engine, id, reply, within, deadline).await,
        Err(NoReply::Timeout(_)) => Err(CallError::Timeout {
            id: id.clone(),
            within,
            message: None,
        }),
        Err(NoReply::Failed(..)) => Err(gone()),
    }
}

/// A message that asks what is not durable yet.
struct Look(Arc<Queued<(), ()>>);

impl<P: Process> Envelope<P> for Look {
    fn open(self: Arc<Self>, session: Arc<Session<P>>) -> Option<Run> {
        self.0.ticket.open()?;
        Some(Box::pin(async move {
            let gate = keep::pending(session.core.borrow_mut().get_mut());
            self.0.ticket.reply(Reply { value: (), gate });
        }))
    }

    fn refuse(&self, why: Failure) {
        self.0.ticket.refuse(why);
    }

    fn frame(&self) -> Option<Arc<Frame>> {
        self.0.frame.clone()
    }
}

pub(crate) fn cast<P, M>(engine: &Arc<Engine>, id: &SessionId, message: M) -> Result<(), CastError<M>>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let begun = engine.events.watched().then(Instant::now);
    let done = |session, message, took| Event::Cast { session, message, took };
    // The error is large and rare: it is made where the way of every message has been left.
    match cast_once::<P, M>(engine, id, message) {
        Ok(()) => {
            report::<M>(engine, id, begun, None, done);
            Ok(())
        }
        Err((refusal, message)) => {
            let error = cast_error::<P, M>(engine, id, refusal, message);
            report::<M>(engine, id, begun, Some(error.kind()), done);
            Err(error)
        }
    }
}

#[inline]
fn cast_once<P, M>(engine: &Arc<Engine>, id: &SessionId, message: M) -> Result<(), (Uncast, M)>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let found = match find::<P>(engine, id) {
        Err(NotFound::NotStarted) if P::DURABILITY.0.is_some() => {
            // Behind its `init`, so that a call after this cast comes after it.
            lifecycle::wake_for_cast::<P>(engine, id).ok_or(NotFound::NotStarted)
        }
        found => found,
    };
    let session = match found {
        Ok(session) => session,
        Err(NotFound::NotStarted) => return Err((Uncast::NotStarted, message)),
        Err(NotFound::WrongProcess) => return Err((Uncast::WrongProcess, message)),
    };
    match attempt(session, message, Sender::Cast) {
        // A panic is the process's affair; the message was delivered.
        Attempt::Replied(_) | Attempt::Waiting(_) | Attempt::Sent | Attempt::Panicked => Ok(()),
        Attempt::Refused(Refusal::MailboxFull, message) => Err((Uncast::MailboxFull, message)),
        Attempt::Refused(Refusal::NotStarted | Refusal::SelfCall, message) => Err((Uncast::NotStarted, message)),
    }
}

/// Why a message was not accepted.
enum Uncast {
    NotStarted,
    WrongProcess,
    MailboxFull,
}

#[cold]
fn cast_error<P: Process, M>(engine: &Engine, id: &SessionId, why: Uncast, message: M) -> CastError<M> {
    match why {
        Uncast::NotStarted => CastError::NotStarted {
            id: id.clone(),
            message,
        },
        Uncast::WrongProcess => CastError::WrongProcess {
            expected: type_name::<P>(),
            found: process_of(engine, id),
            id: id.clone(),
            message,
        },
        Uncast::MailboxFull => CastError::MailboxFull {
            id: id.clone(),
            capacity: engine.config.mailbox_capacity,
            message,
        },
    }
}

/// A message from a session's own timer, effect or handler. Resolves when it has been handled; false if the session
/// is over or the handler panicked.
pub(crate) async fn send_to_itself<P, M>(session: Arc<Session<P>>, message: M) -> bool
where
    P: Handle<M>,
    M: Send + 'static,
{
    match attempt(session, message, Sender::Itself) {
        Attempt::Replied(_) | Attempt::Sent => true,
        Attempt::Waiting(queued) => poll_fn(|cx| queued.ticket.poll(cx)).await.is_ok(),
        Attempt::Refused(..) | Attempt::Panicked => false,
    }
}

/// The same, without waiting.
pub(crate) fn post_to_itself<P, M>(session: Arc<Session<P>>, message: M)
where
    P: Handle<M>,
    M: Send + 'static,
{
    drop(attempt(session, message, Sender::Itself));
}

/// A message to many: delivered like one from itself, so it is no use, but subject to the mailbox's bound. Returns
/// whether it was delivered.
pub(crate) fn push_to<P, M>(session: Arc<Session<P>>, message: M) -> bool
where
    P: Handle<M>,
    M: Send + 'static,
{
    !matches!(attempt(session, message, Sender::Broadcast), Attempt::Refused(..))
}

/// Waits until a session that is just starting has started, or failed to.
pub(super) async fn started<P: Process>(session: &Arc<Session<P>>, deadline: u64) -> Started {
    let queued = Arc::new(Queued::<(), ()>::waiting(
        (),
        chain::frame_for_queued_call(session.address()),
    ));
    if !session.post(Arc::new(Knock(Arc::clone(&queued)))) {
        return Started::Closed;
    }
    match reply(&session.engine, queued, deadline).await {
        Ok(_) => Started::Yes,
        Err(NoReply::Timeout(_)) => Started::Timeout,
        Err(NoReply::Failed(failure, _)) => Started::Failed(failure),
    }
}

pub(super) enum Started {
    Yes,
    Timeout,
    /// It ended; another may be started.
    Closed,
    Failed(Failure),
}

/// A message that asks for nothing but its turn.
struct Knock(Arc<Queued<(), ()>>);

impl<P: Process> Envelope<P> for Knock {
    fn open(self: Arc<Self>, _: Arc<Session<P>>) -> Option<Run> {
        self.0.take()?;
        self.0.done(());
        None
    }

    fn refuse(&self, why: Failure) {
        self.0.fail(why);
    }
}

/// The wait of a start for its own `init`, which goes on in a task.
pub(super) async fn init_done(engine: &Engine, ticket: Arc<InitTicket>, deadline: u64) -> Option<Result<(), Failure>> {
    match reply(engine, ticket.0.clone(), deadline).await {
        Ok(_) => Some(Ok(())),
        Err(NoReply::Timeout(_)) => None,
        Err(NoReply::Failed(failure, _)) => Some(Err(failure)),
    }
}

pub(super) struct InitTicket(Arc<Queued<(), ()>>);

impl InitTicket {
    pub(super) fn new(frame: Option<Arc<Frame>>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Queued {
            ticket: Ticket::begun(),
            frame,
            is_use: true,
        })))
    }

    pub(super) fn tell(&self, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => self.0.ticket.reply(Reply::free(())),
            Err(failure) => self.0.ticket.refuse(failure),
        }
    }
}

impl<P: Process> Envelope<P> for InitTicket {
    fn open(self: Arc<Self>, _: Arc<Session<P>>) -> Option<Run> {
        None
    }

    fn refuse(&self, why: Failure) {
        self.0.ticket.refuse(why);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Context, Sessions};

    #[derive(Debug, Default)]
    struct Speaker;

    impl Process for Speaker {}

    struct Say(mpsc::Sender<&'static str>);

    impl Handle<Say> for Speaker {
        type Reply = ();

        async fn handle(&mut self, Say(to): Say, _: &mut Context<Self>) {
            to.send("said").unwrap();
        }
    }

    /// A race between two threads otherwise: a sender that met a holder of the run right, which has left before the
    /// message is in the queue. In a task it would wait until the sender, which may never wait, gives its thread up.
    #[tokio::test]
    async fn a_message_left_with_nobody_is_handled_by_who_left_it() {
        let sessions = Sessions::<Speaker>::builder().build().unwrap();
        let id = SessionId::generate();
        sessions.start(&id).await.unwrap();
        let (to, said) = mpsc::channel();
        for sender in [Sender::Cast, Sender::Broadcast, Sender::Call, Sender::Itself] {
            let Ok(session) = find::<Speaker>(sessions.engine(), &id) else {
                panic!("it is started");
            };
            let left = leave(session, Say(to.clone()), sender);
            assert!(matches!(left, Attempt::Sent | Attempt::Waiting(_)));
            assert_eq!(said.try_recv(), Ok("said"), "{sender:?}");
        }
    }
}
