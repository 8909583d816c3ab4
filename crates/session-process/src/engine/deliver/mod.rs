//! Bringing a message to a session: handled where the caller stands, if the session is idle.
//!
//! # Guarantees
//! 1. A message is handled whole or not at all. A caller that goes away, by a deadline or by being dropped, takes a
//!    message back that nobody began to handle; a handler that has begun goes on to its end.
//! 2. Messages of one sender are handled in the order in which it sent them.
//! 3. A message that was not handled is in the error.

mod call;
mod cast;
mod knock;
mod queued;
mod wait;

use std::{cell::Cell, future::poll_fn, pin::pin, sync::Arc};

use self::queued::Reply;
pub(super) use self::{
    call::{WAKES, not_awake},
    knock::{InitTicket, Started, init_done, started},
    queued::Queued,
    wait::{NoReply, reply},
};
pub(crate) use self::{
    call::{call, settled},
    cast::{cast, post_to_itself, push_to, send_to_itself},
};
use super::{
    Engine,
    chain::{self, Chain},
    guard::{Guarded, Panic, drop_quietly, panic_text, poll_caught, poll_here},
    keep, lifecycle,
    mailbox::Push,
    observe, room,
    run::{self, Turn},
    session::{AnySession, Core, Envelope, Failure, Leftover, Session},
    ticket::Ticket,
};
use crate::{EndReason, Handle, Process, SessionId};

/// Whether a handler may begin in this very poll: not too deep inside others, and in the engine's runtime, which the
/// user's code binds its timers and sockets to.
#[inline]
pub(super) fn may_run_here(engine: &Engine, session: usize) -> bool {
    chain::check(session) != Chain::TooDeep && at_home(engine)
}

thread_local! {
    /// A task that was seen to be in a runtime. A task stays in its runtime, so the two are asked about once. (Not so one
    /// that blocks on another runtime in its midst, `block_in_place(|| other.block_on(…))`: what it sends from there may be
    /// polled there for the first time.)
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

enum Attempt<P: Handle<M>, M: Send + 'static> {
    Replied(Reply<P::Reply>),
    /// The reply will be in the ticket.
    Waiting(Arc<Session<P>>, Arc<Queued<M, P::Reply>>),
    /// Delivered; nobody waits.
    Sent,
    Refused(Refusal, M),
    Panicked,
}

/// Why a message was not accepted.
pub(super) enum Refusal {
    NotStarted,
    /// It is a durable one that can't take a cast just now.
    NotAwake,
    WrongProcess,
    MailboxFull,
    SelfCall,
}

fn attempt<P, M>(session: Arc<Session<P>>, message: M, sender: Sender) -> Attempt<P, M>
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
fn handle_here<P, M>(session: Arc<Session<P>>, message: M, sender: Sender) -> Attempt<P, M>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let now = session.engine.now();
    let expiry = match sender.is_use() {
        true => session.life().judge_use(now),
        false => session.life().judge(now),
    };
    if let Some(expiry) = expiry {
        session.close(EndReason::Expired(expiry), Leftover::Refuse);
        session.proceed();
        return Attempt::Refused(Refusal::NotStarted, message);
    }
    let address = session.address();
    let mut run = room::place(handle::<P, M, true>(session, message));
    let frame = match poll_here(address, sender == Sender::Call, run.as_mut()) {
        Ok(Handled { session, outcome }) => {
            room::keep(run);
            return match outcome {
                // Taken apart: moved as one, with its parts written just before, it is waited for.
                Ok((Reply { value, gate }, stop)) => {
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
                    if sender == Sender::Call {
                        return Attempt::Replied(Reply { value, gate });
                    }
                    // Nobody wants it, and it is the user's.
                    let _ = drop_quietly(value);
                    Attempt::Sent
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
    Attempt::Waiting(session, queued)
}

fn handed_over<P: Process>() -> Arc<Session<P>> {
    let session = HANDED_OVER.take().expect("a handler that waits hands its session over");
    Session::of(session).expect("it was the last to be polled on this thread")
}

/// After a panic in place: whoever waits learns of it now, and the session recovers in a task.
fn crashed_here<P: Process>(session: Arc<Session<P>>, panic: Panic) {
    session.side.lock().stop_tasks();
    // Here and not in the task: what comes from now on is for the process after the crash.
    session.refuse_waiting(&Failure::Crashed);
    session.mailbox().away();
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
            // Where nobody waits for it, the reply is still in there, and is the user's.
            let _ = drop_quietly(queued);
            run::drain(turn).await;
        }
        Err(panic) => {
            turn.clear();
            run::crash(turn, panic_text(panic), queued).await;
        }
    }
}

/// Leaves a message in the mailbox.
fn leave<P, M>(session: Arc<Session<P>>, message: M, sender: Sender) -> Attempt<P, M>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let now = session.engine.now();
    if session.end_if_over(now) {
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
    let bound = match sender {
        Sender::Itself => None,
        _ => Some(session.engine.config.mailbox_capacity),
    };
    let envelope = Arc::clone(&queued) as Arc<dyn Envelope<P>>;
    let refusal = match session.mailbox().push(envelope, bound) {
        Push::Queued => None,
        Push::Begin => {
            // `None`: whoever ends the session just now has refused it already, and a call's ticket says so.
            let mut back = None;
            if session.is_in_time(now, || back = queued.ticket.open()) {
                let turn = Turn::new(Arc::clone(&session));
                // Who had the run right left just before this message came. A sender that doesn't wait may keep its
                // thread for long, and a task from running; who waits gives it up, and shall not work for others
                // first. And not inside a handler, which may hold what the others need.
                if !sender.waits() && !chain::in_a_handler() {
                    run::drain_in_place(turn);
                } else {
                    run::spawn_drain(turn);
                }
            }
            if let Some(message) = back {
                return Attempt::Refused(Refusal::NotStarted, message);
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
        session.life().touch_if_in_time(now, session.mailbox().is_in_use());
    }
    match sender {
        Sender::Cast | Sender::Broadcast => Attempt::Sent,
        Sender::Call | Sender::Itself => Attempt::Waiting(session, queued),
    }
}

pub(super) fn find<P: Process>(engine: &Engine, id: &SessionId) -> Result<Arc<Session<P>>, NotFound> {
    let found = engine.find(id).ok_or(NotFound::NotStarted)?;
    Session::of(found).ok_or(NotFound::WrongProcess)
}

pub(super) enum NotFound {
    NotStarted,
    WrongProcess,
}

impl From<NotFound> for Refusal {
    fn from(why: NotFound) -> Self {
        match why {
            NotFound::NotStarted => Self::NotStarted,
            NotFound::WrongProcess => Self::WrongProcess,
        }
    }
}

pub(super) fn process_of(engine: &Engine, id: &SessionId) -> &'static str {
    engine
        .registry
        .with(id, |session| session.process())
        .unwrap_or("another process")
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
    async fn a_cast_left_with_nobody_is_handled_by_who_left_it() {
        let sessions = Sessions::<Speaker>::builder().build().unwrap();
        let id = SessionId::generate();
        sessions.start(&id).await.unwrap();
        let (to, said) = mpsc::channel();
        for sender in [Sender::Cast, Sender::Broadcast] {
            let Ok(session) = find::<Speaker>(sessions.engine(), &id) else {
                panic!("it is started");
            };
            let left = leave(session, Say(to.clone()), sender);
            assert!(matches!(left, Attempt::Sent));
            assert_eq!(said.try_recv(), Ok("said"), "{sender:?}");
        }
    }
}
