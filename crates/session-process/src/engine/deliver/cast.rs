//! Messages whose senders don't wait for a reply.

use std::{any::type_name, future::poll_fn, sync::Arc, time::Instant};

use super::{Attempt, NotFound, Refusal, Sender, attempt, call::report, find, process_of};
use crate::{
    CastError, EndReason, Handle, Process, SessionId,
    engine::{Engine, guard::drop_quietly, lifecycle, session::Session},
    events::Event,
};

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
fn cast_once<P, M>(engine: &Arc<Engine>, id: &SessionId, message: M) -> Result<(), (Refusal, M)>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let found = match find::<P>(engine, id) {
        Err(NotFound::NotStarted) if P::DURABILITY.0.is_some() => {
            // Behind its `init`, so that a call after this cast comes after it.
            match lifecycle::wake_for_cast::<P>(engine, id) {
                Ok(session) => Ok(session),
                Err(why) => return Err((why, message)),
            }
        }
        found => found,
    };
    let session = match found {
        Ok(session) => session,
        Err(why) => return Err((why.into(), message)),
    };
    let durable = P::DURABILITY.0.is_some() && session.kept.is_some();
    let durable = durable.then(|| Arc::clone(&session));
    match attempt(session, message, Sender::Cast) {
        Attempt::Refused(Refusal::NotStarted, message) if durable.is_some_and(|session| lives_on(&session)) => {
            Err((Refusal::NotAwake, message))
        }
        // A panic is the process's affair; the message was delivered.
        Attempt::Replied(_) | Attempt::Waiting(..) | Attempt::Sent | Attempt::Panicked => Ok(()),
        Attempt::Refused(refusal, message) => Err((refusal, message)),
    }
}

/// It is closed, but not over: it falls asleep, or the node shuts down.
#[cold]
fn lives_on<P: Process>(session: &Session<P>) -> bool {
    session.end_reason().is_some_and(EndReason::keeps_record)
}

#[cold]
fn cast_error<P: Process, M>(engine: &Engine, id: &SessionId, why: Refusal, message: M) -> CastError<M> {
    match why {
        Refusal::NotStarted => CastError::NotStarted {
            id: id.clone(),
            message,
        },
        Refusal::NotAwake => CastError::NotAwake {
            id: id.clone(),
            message,
        },
        Refusal::SelfCall => unreachable!("a cast to oneself is none: nobody waits"),
        Refusal::WrongProcess => CastError::WrongProcess {
            expected: type_name::<P>(),
            found: process_of(engine, id),
            id: id.clone(),
            message,
        },
        Refusal::MailboxFull => CastError::MailboxFull {
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
        Attempt::Waiting(_session, queued) => {
            let outcome = poll_fn(|cx| queued.ticket.poll(cx)).await;
            let handled = outcome.is_ok();
            let _ = drop_quietly(outcome);
            handled
        }
        over => {
            let handled = matches!(over, Attempt::Replied(_) | Attempt::Sent);
            let _ = drop_quietly(over);
            handled
        }
    }
}

/// The same, without waiting.
pub(crate) fn post_to_itself<P, M>(session: Arc<Session<P>>, message: M)
where
    P: Handle<M>,
    M: Send + 'static,
{
    let _ = drop_quietly(attempt(session, message, Sender::Itself));
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
