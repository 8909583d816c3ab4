//! How a session begins, recovers from a panic, and ends.
//!
//! All three are done by the holder of the run right, so they exclude each other and every handler.

use std::{
    any::type_name,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    Engine,
    chain::{self, Frame},
    deliver::{self, InitTicket, Refusal, Started},
    guard::{Guarded, Panic, Polled, caught, drop_quietly, panic_text, poll_in_place},
    keep,
    life::Life,
    registry::{Insert, Make},
    room,
    run::Turn,
    session::{AnySession, Beside, Core, Envelope, Failure, Leftover, Session},
};
use crate::{
    Context, EndReason, Init, InitError, LoadError, Process, Restart, SessionId, SharedError, StartError, StartOptions,
    clock::nanos, events::Event, process::Expiry, store::SessionKey,
};

/// How a process begins anew.
pub(crate) trait Recipe<P: Process>: Send {
    fn make<'a>(&'a self, cx: &'a mut Context<P>) -> Pin<Box<dyn Future<Output = Result<P, InitError>> + Send + 'a>>;
}

/// With the arguments that it was started with.
struct Again<A>(A);

impl<P: Init<A>, A: Clone + Send + Sync + 'static> Recipe<P> for Again<A> {
    fn make<'a>(&'a self, cx: &'a mut Context<P>) -> Pin<Box<dyn Future<Output = Result<P, InitError>> + Send + 'a>> {
        Box::pin(P::init(self.0.clone(), cx))
    }
}

/// Starts a session, unless it is. Returns whether it was started just now.
pub(crate) async fn start<P, A>(
    engine: &Arc<Engine>,
    id: &SessionId,
    args: A,
    options: &StartOptions,
) -> Result<bool, StartError>
where
    P: Init<A>,
    A: Clone + Send + Sync + 'static,
{
    chain::take_turn().await;
    let result = start_quietly::<P, A>(engine, id, args, options).await;
    if let Err(error) = &result
        && !engine.emit_limited(error)
    {
        engine.events.emit(|| Event::StartFailed {
            session: id.public_handle(),
            process: type_name::<P>(),
            error: error.kind(),
        });
    }
    result
}

async fn start_quietly<P, A>(
    engine: &Arc<Engine>,
    id: &SessionId,
    mut args: A,
    options: &StartOptions,
) -> Result<bool, StartError>
where
    P: Init<A>,
    A: Clone + Send + Sync + 'static,
{
    let mut now = engine.now();
    let deadline = now.saturating_add(nanos(engine.config.call_timeout));
    loop {
        let found = match start_here::<P, A>(engine, id, args, options, now) {
            Ok(Begun::Done(Ok(()))) => return Ok(true),
            Ok(begun) => return wait_begun(engine, id, begun, deadline).await,
            Err(NotStarted::Refused(error)) => return Err(error),
            Err(NotStarted::Found(found, back)) => {
                args = back;
                found
            }
        };
        if let Some(outcome) = join::<P>(engine, id, found, now, deadline).await {
            return outcome;
        }
        now = engine.now();
    }
}

enum NotStarted<A> {
    Refused(StartError),
    /// There is one, and the arguments are not needed.
    Found(Arc<dyn AnySession>, A),
}

/// Puts a session into the registry and begins its `init` where the caller stands. Not async: nearly every start is
/// through with this, and what passes between the states of a future goes by the memory.
#[inline]
fn start_here<P, A>(
    engine: &Arc<Engine>,
    id: &SessionId,
    args: A,
    options: &StartOptions,
    now: u64,
) -> Result<Begun<P>, NotStarted<A>>
where
    P: Init<A>,
    A: Clone + Send + Sync + 'static,
{
    let admit = || engine.admit(now, options.key.as_deref());
    // Cloned before the registry is locked: it is the user's code.
    let recipe = Box::new(Again(args.clone()));
    let make = || {
        let idle_timeout = options.idle_timeout.unwrap_or(engine.config.idle_timeout);
        let max_lifetime = options.max_lifetime.unwrap_or(engine.config.max_lifetime);
        Session::<P>::starting(engine, id, Life::begin(now, idle_timeout, max_lifetime), recipe) as Arc<dyn AnySession>
    };
    // What a durable one is made of is hashed and allocated.
    let durable = P::DURABILITY.0.is_some();
    let when = if durable { Make::LetIn } else { Make::Ahead };
    let session = match engine.registry.get_or_insert(id, admit, when, make) {
        Insert::Inserted(session) => own::<P>(session),
        Insert::Refused(error) => return Err(NotStarted::Refused(error)),
        Insert::Found(found) => return Err(NotStarted::Found(found, args)),
    };
    let made = Arc::clone(&session);
    // Apart: what speaks to a store makes the future of those that have none five times as large.
    Ok(if durable {
        begin_here(session, init_durable(made, args))
    } else {
        begin_here(session, init(made, args))
    })
}

/// Waits for a session that another has started, or that is about to end. `None`: its id is free again.
async fn join<P: Process>(
    engine: &Arc<Engine>,
    id: &SessionId,
    found: Arc<dyn AnySession>,
    now: u64,
    deadline: u64,
) -> Option<Result<bool, StartError>> {
    let within = engine.config.call_timeout;
    let timeout = || StartError::Timeout { id: id.clone(), within };
    if found.is_closed() || found.life().is_expired(now, false) && Arc::clone(&found).expire(now) {
        // Its id is free when its terminate hook has run.
        if found.in_chain() {
            return Some(Err(StartError::SelfCall { id: id.clone() }));
        }
        return match ended(&*found, engine, deadline).await {
            Some(()) => None,
            None => Some(Err(timeout())),
        };
    }
    let session = match of_type::<P>(id, found) {
        Ok(session) => session,
        Err(error) => return Some(Err(error)),
    };
    if session.is_ready() {
        if session.touch(now) {
            return Some(Ok(false));
        }
        // It has ended or expired just now: see above. If we ourselves are at work there, it can't end before we do.
        if session.in_chain() {
            return Some(Err(StartError::SelfCall { id: id.clone() }));
        }
        if now >= deadline {
            return Some(Err(timeout()));
        }
        tokio::task::yield_now().await;
        return None;
    }
    match beginning(id, &session, within, deadline).await {
        Ok(Beginning::Over) => Some(Ok(false)),
        // Not there: somebody had asked the store for it, before us.
        Ok(Beginning::Ended | Beginning::NotThere) => None,
        Err(error) => Some(Err(error)),
    }
}

fn of_type<P: Process>(id: &SessionId, found: Arc<dyn AnySession>) -> Result<Arc<Session<P>>, StartError> {
    let process = found.process();
    Session::<P>::of(found).ok_or_else(|| StartError::WrongProcess {
        id: id.clone(),
        expected: type_name::<P>(),
        found: process,
    })
}

/// What came of a session that somebody else begins.
enum Beginning {
    Over,
    /// It has ended; another may be started.
    Ended,
    /// The store doesn't know it.
    NotThere,
}

/// Waits for a session that somebody else begins, until `deadline`.
async fn beginning<P: Process>(
    id: &SessionId,
    session: &Arc<Session<P>>,
    within: Duration,
    deadline: u64,
) -> Result<Beginning, StartError> {
    if session.in_chain() {
        return Err(StartError::SelfCall { id: id.clone() });
    }
    match deliver::started(session, deadline).await {
        Started::Yes => Ok(Beginning::Over),
        Started::Closed => Ok(Beginning::Ended),
        Started::Timeout => Err(StartError::Timeout { id: id.clone(), within }),
        Started::Failed(failure) if failure.is_not_there() => Ok(Beginning::NotThere),
        Started::Failed(failure) => Err(start_error(id, failure)),
    }
}

/// Of a process that comes from the store, or is over: there is nothing else to begin from.
pub(super) struct FromStore;

impl<P: Process> Recipe<P> for FromStore {
    fn make<'a>(&'a self, _: &'a mut Context<P>) -> Pin<Box<dyn Future<Output = Result<P, InitError>> + Send + 'a>> {
        Box::pin(async { Err(NotThere.into()) })
    }
}

/// There is no state under this id after all.
#[derive(Debug, thiserror::Error)]
#[error("there is no such session in the store")]
pub(super) struct NotThere;

/// Brings a session back from the store. `Ok(false)`: there is none.
pub(crate) async fn wake<P: Process>(
    engine: &Arc<Engine>,
    id: &SessionId,
    within: Duration,
    deadline: u64,
) -> Result<bool, StartError> {
    let Some(records) = &engine.records else {
        return Ok(false);
    };
    loop {
        if let Some(found) = engine.registry.get(id) {
            if !found.is_closed() {
                // Somebody was quicker.
                return Ok(true);
            }
            if found.in_chain() {
                return Err(StartError::SelfCall { id: id.clone() });
            }
            let timeout = || StartError::Timeout { id: id.clone(), within };
            ended(&*found, engine, deadline).await.ok_or_else(timeout)?;
            continue;
        }
        // Into the registry first, and then one look into the store: its answer is as new as the place, and whoever
        // else asks for the session waits there for it.
        let session = match insert_from_store::<P>(engine, id) {
            Insert::Inserted(session) => own::<P>(session),
            Insert::Found(_) => continue,
            Insert::Refused(error) => {
                // No place is an error only for a session that there is.
                let there = records.is_there(SessionKey::of(id)).await;
                return match there.map_err(LoadError::Store) {
                    Ok(true) => Err(error),
                    Ok(false) => Ok(false),
                    Err(source) => Err(StartError::NotLoaded { id: id.clone(), source }),
                };
            }
        };
        let run = back(Arc::clone(&session));
        let begun = begin_here(session, run);
        return match wait_begun(engine, id, begun, deadline).await {
            Err(StartError::InitFailed { source, .. }) if source.is::<NotThere>() => Ok(false),
            outcome => outcome,
        };
    }
}

/// The same, and waits until the session has started, whoever wakes it. `Ok(false)`: there is none.
pub(crate) async fn wake_up<P: Process>(engine: &Arc<Engine>, id: &SessionId) -> Result<bool, StartError> {
    let within = engine.config.call_timeout;
    let deadline = engine.now().saturating_add(nanos(within));
    loop {
        if !wake::<P>(engine, id, within, deadline).await? {
            return Ok(false);
        }
        // Asleep again, or ended.
        let Some(found) = engine.registry.get(id) else {
            chain::take_turn().await;
            continue;
        };
        if found.is_live(engine.now()) {
            return Ok(true);
        }
        let session = of_type::<P>(id, found)?;
        if session.is_ready() && Arc::clone(&session).expire(engine.now()) {
            // Its end asks the store whether another node uses it: then it can be woken.
            continue;
        }
        match beginning(id, &session, within, deadline).await? {
            Beginning::Over => return Ok(true),
            Beginning::Ended => {}
            Beginning::NotThere => return Ok(false),
        }
    }
}

/// The same for a sender that doesn't wait: the session is there at once, and its messages wait for it.
pub(super) fn wake_for_cast<P: Process>(engine: &Arc<Engine>, id: &SessionId) -> Result<Arc<Session<P>>, Refusal> {
    if engine.records.is_none() {
        return Err(Refusal::NotStarted);
    }
    match insert_from_store::<P>(engine, id) {
        Insert::Inserted(session) => {
            let session = own::<P>(session);
            let run = back(Arc::clone(&session));
            // In a task in any case: it reads the store.
            begin_here(Arc::clone(&session), run);
            Ok(session)
        }
        // Somebody was quicker.
        Insert::Found(found) => Session::of(found).ok_or(Refusal::WrongProcess),
        // There is no place for it, or no time, whether it is in the store or not.
        Insert::Refused(_) => Err(Refusal::NotAwake),
    }
}

/// A session that the caller has just put into the registry.
fn own<P: Process>(session: Arc<dyn AnySession>) -> Arc<Session<P>> {
    Session::of(session).expect("it was made with this type of process")
}

fn insert_from_store<P: Process>(engine: &Arc<Engine>, id: &SessionId) -> Insert<StartError> {
    let now = engine.now();
    let (idle_timeout, max_lifetime) = (engine.config.idle_timeout, engine.config.max_lifetime);
    let make = || {
        let life = Life::begin(now, idle_timeout, max_lifetime);
        Session::<P>::starting(engine, id, life, Box::new(FromStore)) as Arc<dyn AnySession>
    };
    engine
        .registry
        .get_or_insert(id, || engine.admit_back(), Make::LetIn, make)
}

/// In place of `init`, for a session that has begun long ago.
async fn back<P: Process>(session: Arc<Session<P>>) -> Result<(), InitError> {
    let mut core = session.core.borrow_mut();
    let Core {
        process, cx, beside, ..
    } = core.get_mut();
    cx.belong_to(&session);
    let keep = Beside::keep(beside).ok_or(NotThere)?;
    *process = Some(keep::load(&session, keep).await?.ok_or(NotThere)?);
    session.engine.registry.recheck(&AnySession::id(&*session));
    Ok(())
}

/// Waits for a session's end, until `deadline`.
pub(crate) async fn ended(session: &dyn AnySession, engine: &Engine, deadline: u64) -> Option<()> {
    let mut ended = session.watch_end();
    // An error means that nobody will tell any more: it has ended.
    let told = engine.clock.before(deadline, ended.wait_for(Option::is_some)).await;
    told.map(|_| ())
}

fn start_error(id: &SessionId, failure: Failure) -> StartError {
    let id = id.clone();
    match failure {
        Failure::InitFailed(Some(source)) => match source.downcast_ref::<LoadError>() {
            Some(source) => StartError::NotLoaded {
                id,
                source: source.clone(),
            },
            None => StartError::InitFailed { id, source },
        },
        Failure::InitFailed(None) | Failure::Crashed => StartError::InitPanicked { id },
        Failure::Ended(reason) => StartError::Ended { id, reason },
    }
}

/// Waits for what is going on in a task, which it does whatever becomes of the caller.
async fn wait_begun<P: Process>(
    engine: &Engine,
    id: &SessionId,
    begun: Begun<P>,
    deadline: u64,
) -> Result<bool, StartError> {
    let begun = match begun {
        Begun::Done(outcome) => outcome,
        Begun::Waiting(session, ticket) => match deliver::init_done(&*session, ticket, deadline).await {
            Some(outcome) => outcome,
            None => {
                return Err(StartError::Timeout {
                    id: id.clone(),
                    within: engine.config.call_timeout,
                });
            }
        },
    };
    match begun {
        Ok(()) => Ok(true),
        Err(failure) => Err(start_error(id, failure)),
    }
}

enum Begun<P: Process> {
    Done(Result<(), Failure>),
    Waiting(Arc<Session<P>>, Arc<InitTicket>),
}

/// Runs `init` where the caller stands; what doesn't finish there goes on in a task. Not async: the caller's future
/// doesn't contain `run`, which may be about to start a process of the same type.
fn begin_here<P: Process>(
    session: Arc<Session<P>>,
    run: impl Future<Output = Result<(), InitError>> + Send + 'static,
) -> Begun<P> {
    let address = session.address();
    let asked = session.engine.events.listened().then(Instant::now);
    session.engine.know(&session);
    // On the heap from the start: it may go on in a task.
    let mut run = room::place(run);
    let (run, frame) = if deliver::may_run_here(&session.engine, address) {
        match poll_in_place(address, true, run.as_mut()) {
            Polled::Ready(made) => {
                room::keep(run);
                return Begun::Done(settle(Turn::new(session), Ok(made), asked));
            }
            Polled::Panicked(panic) => return Begun::Done(settle(Turn::new(session), Err(panic), asked)),
            Polled::Pending(frame) => (run, frame),
        }
    } else {
        (run, chain::frame_for_queued_call(address))
    };
    session.mailbox().away();
    let ticket = InitTicket::new(frame.clone());
    let turn = Turn::at(Arc::clone(&session), Arc::clone(&ticket) as Arc<dyn Envelope<P>>);
    session.spawn(go_on(
        turn,
        Guarded::new(address, frame, run),
        Arc::clone(&ticket),
        asked,
    ));
    Begun::Waiting(session, ticket)
}

async fn go_on<P: Process, F>(mut turn: Turn<P>, run: Guarded<F>, ticket: Arc<InitTicket>, asked: Option<Instant>)
where
    F: Future<Output = Result<(), InitError>> + Unpin + Send,
{
    let made = run.await;
    turn.clear();
    ticket.tell(settle(turn, made, asked));
}

async fn init<P: Init<A>, A>(session: Arc<Session<P>>, args: A) -> Result<(), InitError> {
    let mut core = session.core.borrow_mut();
    let Core { process, cx, .. } = core.get_mut();
    cx.belong_to(&session);
    *process = Some(P::init(args, cx).await?);
    begun(&session, cx);
    Ok(())
}

async fn init_durable<P: Init<A>, A>(session: Arc<Session<P>>, args: A) -> Result<(), InitError> {
    let mut core = session.core.borrow_mut();
    let Core {
        process, cx, beside, ..
    } = core.get_mut();
    cx.belong_to(&session);
    if let Some(keep) = Beside::keep(beside)
        && let Some(found) = keep::load(&session, keep).await?
    {
        // It was started before, by this program or an earlier one, here or elsewhere.
        *process = Some(found);
        session.life().used(session.engine.now());
        session.engine.registry.recheck(&AnySession::id(&*session));
        return Ok(());
    }
    let new = process.insert(P::init(args, cx).await?);
    if let Some(keep) = Beside::keep(beside) {
        keep::save_first(&session, new, keep).await?;
    }
    begun(&session, cx);
    Ok(())
}

/// The user's `init` has made a process.
fn begun<P: Process>(session: &Arc<Session<P>>, cx: &mut Context<P>) {
    cx.take_unchanged();
    // Now, as it may have taken long. (Coming back from the store is no use: that is the message it comes for.)
    session.life().used(session.engine.now());
    if let Some(reason) = cx.take_stop() {
        session.close(reason, Leftover::Refuse);
    }
}

/// `init` is over, one way or the other.
fn settle<P: Process>(
    turn: Turn<P>,
    made: Result<Result<(), InitError>, Panic>,
    asked: Option<Instant>,
) -> Result<(), Failure> {
    let session = turn.session();
    let failure = match made {
        Ok(Ok(())) => {
            session.ready();
            session.engine.started.fetch_add(1, Ordering::Relaxed);
            session.engine.events.emit(|| Event::Started {
                session: AnySession::id(&**session).public_handle(),
                process: type_name::<P>(),
                took: asked.map_or(Duration::ZERO, |asked| asked.elapsed()),
            });
            let ended = session.end_reason();
            turn.give_up().proceed();
            // Ended while it started. It has run its terminate hook, or is about to.
            return ended.map_or(Ok(()), |reason| Err(Failure::Ended(reason)));
        }
        Ok(Err(error)) => Failure::InitFailed(Some(SharedError::from(error))),
        Err(panic) => {
            panic_text(panic);
            Failure::InitFailed(None)
        }
    };
    let reason = session.end_reason().unwrap_or(EndReason::Crashed);
    let waiting = {
        session.close(reason, Leftover::Handle);
        session.mailbox().take()
    };
    // First out of the registry, so that whoever learns of the failure can start it again.
    turn.finish(reason);
    for envelope in waiting {
        envelope.refuse(failure.clone());
    }
    Err(failure)
}

/// Brings a session back after a panic, or ends it.
pub(super) async fn recover<P: Process>(turn: Turn<P>, panic: String) {
    let session = Arc::clone(turn.session());
    let engine = Arc::clone(&session.engine);
    engine.events.emit(|| Event::Crashed {
        session: AnySession::id(&*session).public_handle(),
        process: type_name::<P>(),
        panic,
    });
    let killed = session.side.lock().killed;
    terminate(&session, EndReason::Crashed, killed, false).await;
    // Those that the hook has begun.
    session.side.lock().stop_tasks();
    let restarts = match P::RESTART {
        Restart::OnFailure { max_restarts, within } if !session.mailbox().is_closed() => {
            let mut side = session.side.lock();
            side.extras().admit_restart(engine.now(), max_restarts, nanos(within))
        }
        _ => None,
    };
    if let Some(restarts) = restarts {
        match Guarded::new(session.address(), None, Box::pin(begin_anew(Arc::clone(&session)))).await {
            Ok(Ok(())) => {
                engine.events.emit(|| Event::Restarted {
                    session: AnySession::id(&*session).public_handle(),
                    process: type_name::<P>(),
                    restarts,
                });
                drop(session);
                turn.give_up().proceed();
                return;
            }
            failed => {
                // Both are the user's, and may panic when they are dropped.
                match failed {
                    Err(panic) => drop(panic_text(panic)),
                    Ok(error) => drop(drop_quietly(error)),
                }
                engine.events.emit(|| Event::StartFailed {
                    session: AnySession::id(&*session).public_handle(),
                    process: type_name::<P>(),
                    error: "init_failed",
                });
            }
        }
    }
    session.close(EndReason::Crashed, Leftover::Refuse);
    end(turn).await;
}

async fn begin_anew<P: Process>(session: Arc<Session<P>>) -> Result<(), InitError> {
    let mut core = session.core.borrow_mut();
    let Core {
        process,
        cx,
        recipe,
        beside,
    } = core.get_mut();
    *process = Some(match keep::recover(&session, Beside::keep(beside)).await {
        Some(durable) => durable,
        // What the store had is gone, or can't be read.
        None if Beside::keep(beside).is_some() => return Err(NotThere.into()),
        None => recipe.make(cx).await?,
    });
    cx.take_unchanged();
    // What was to have it look was refused with all that waited.
    keep::remind(&session);
    if let (Some(beside), Some(process)) = (beside, &*process) {
        beside.observers.tell(process);
    }
    if let Some(reason) = cx.take_stop() {
        session.close(reason, Leftover::Refuse);
    }
    Ok(())
}

/// Ends a session whose mailbox is closed, where we stand, if its terminate hook doesn't wait.
pub(super) fn end_in_place<P: Process>(turn: Turn<P>) {
    let session = Arc::clone(turn.session());
    session.run_in_place(end(turn));
}

pub(super) async fn end<P: Process>(turn: Turn<P>) {
    let session = turn.session();
    let mut reason = session.end_reason().expect("the mailbox was closed for a reason");
    if P::DURABILITY.0.is_some() && reason == EndReason::Expired(Expiry::Idle) && keep::is_used_elsewhere(session).await
    {
        reason = session.only_sleeps();
    }
    let killed = session.side.lock().stop_tasks();
    terminate(session, reason, killed, true).await;
    // Nothing waits, except if the session crashed while it was to work its mailbox off.
    session.refuse_waiting(&Failure::Ended(reason));
    turn.finish(reason);
}

/// Runs the terminate hook, unless the session was `killed`, and drops the process, if there is one. `last`: it doesn't
/// begin anew.
async fn terminate<P: Process>(session: &Arc<Session<P>>, reason: EndReason, killed: bool, last: bool) {
    let mut core = session.core.borrow_mut();
    let Core {
        process, cx, beside, ..
    } = core.get_mut();
    let Some(running) = process.as_mut() else {
        if last {
            keep::end::<P>(session, None, Beside::keep(beside), reason).await;
        }
        return;
    };
    // A handler that asked to stop and then panicked has left its wish there.
    cx.take_stop();
    let hook = if killed || reason == EndReason::Asleep {
        Ok(())
    } else {
        hook(session, running, cx, reason).await
    };
    if last {
        keep::end(session, process.as_mut(), Beside::keep(beside), reason).await;
    }
    let dropped = drop_quietly(process.take());
    if let Err(error) = hook.and(dropped) {
        session.engine.events.emit(|| Event::HookFailed {
            session: AnySession::id(&**session).public_handle(),
            process: type_name::<P>(),
            error,
        });
    }
}

async fn hook<P: Process>(
    session: &Arc<Session<P>>,
    process: &mut P,
    cx: &mut Context<P>,
    reason: EndReason,
) -> Result<(), String> {
    let engine = &session.engine;
    let mut frame: Option<Arc<Frame>> = None;
    // In an `async` block, so that a hook that panics before it has made its future is caught too.
    let mut hook = pin!(Some(async { process.terminate(reason, cx).await }));
    // Made only if the hook waits: most don't, and a timer is not free.
    let mut time_is_up = pin!(None);
    let ended = poll_fn(|task| {
        let on_chain = chain::enter_again(session.address(), frame.take());
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let hook = hook.as_mut().as_pin_mut().expect("dropped below");
            hook.poll(task)
        }));
        frame = on_chain.suspend();
        match polled {
            Ok(Poll::Ready(())) => return Poll::Ready(Ok(())),
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Err(panic_text(panic))),
        }
        if time_is_up.is_none() {
            time_is_up.set(Some(engine.clock.sleep(engine.config.terminate_timeout)));
        }
        let time_is_up = time_is_up.as_mut().as_pin_mut().expect("set above");
        time_is_up
            .poll(task)
            .map(|()| Err(format!("cut after {:?}", engine.config.terminate_timeout)))
    })
    .await;
    // A hook that was cut is dropped in the middle, and what it holds may panic.
    ended.and(caught(|| hook.set(None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Page;

    impl Process for Page {}

    fn size_of_what_returns<T, F: Future>(_: impl FnOnce(T) -> F) -> usize {
        size_of::<F>()
    }

    /// It is moved into its room at the end of every session, durable or not. One that carries what only a durable one
    /// needs makes it half as quick to end them all.
    #[test]
    fn the_end_of_a_session_is_small() {
        let bytes = size_of_what_returns(end::<Page>);
        assert!(bytes <= 1_024, "{bytes} bytes");
    }
}
