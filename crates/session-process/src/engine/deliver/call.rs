//! A call: a message and the wait for its reply.

use std::{
    any::type_name,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Attempt, Refusal, Sender, attempt, find, process_of,
    queued::{Queued, Reply},
    wait::{NoReply, reply},
};
use crate::{
    CallError, EndReason, Handle, Process, PublicHandle, SaveError, SessionId, SharedError, StartError,
    clock::nanos,
    engine::{
        Engine,
        chain::{self, Frame},
        keep, lifecycle,
        run::Run,
        session::{Envelope, Failure, Session},
    },
    events::Event,
};

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
    match bring::<P, M>(engine, id, message) {
        // Nearly all. A result is as large as its largest error, and from here on it is moved about.
        Attempt::Replied(Reply { value, gate: None }) if begun.is_none() => Ok(value),
        attempt => come_of::<P, M>(engine, id, attempt, within, begun).await,
    }
}

/// What becomes of a call that was not simply replied to, or that somebody watches.
async fn come_of<P, M>(
    engine: &Arc<Engine>,
    id: &SessionId,
    attempt: Attempt<P, M>,
    within: Duration,
    begun: Option<Instant>,
) -> Result<P::Reply, CallError<M>>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let deadline = engine.now().saturating_add(nanos(within));
    let mut result = answer::<P, M>(engine, id, attempt, within, deadline).await;
    if P::DURABILITY.0.is_some() && engine.records.is_some() {
        result = awake::<P, M>(engine, id, result, within, deadline).await;
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
pub(super) fn report<M>(
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
pub(in crate::engine) const WAKES: usize = 3;

/// A message to a session that sleeps wakes it and is sent again.
async fn awake<P, M>(
    engine: &Arc<Engine>,
    id: &SessionId,
    mut result: Result<P::Reply, CallError<M>>,
    within: Duration,
    deadline: u64,
) -> Result<P::Reply, CallError<M>>
where
    P: Handle<M>,
    M: Send + 'static,
{
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
            Ok(true) => {
                let attempt = bring::<P, M>(engine, &id, message);
                Box::pin(answer::<P, M>(engine, &id, attempt, within, deadline)).await
            }
            Ok(false) => return Err(CallError::NotStarted { id, message }),
            Err(error) => return Err(not_awake(id, within, message, error)),
        };
    }
    result
}

/// There is a session, and it could not be woken.
pub(in crate::engine) fn not_awake<M>(id: SessionId, within: Duration, message: M, error: StartError) -> CallError<M> {
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

/// Brings a call to its session.
#[inline]
fn bring<P, M>(engine: &Engine, id: &SessionId, message: M) -> Attempt<P, M>
where
    P: Handle<M>,
    M: Send + 'static,
{
    match find::<P>(engine, id) {
        Ok(session) => attempt(session, message, Sender::Call),
        Err(why) => Attempt::Refused(why.into(), message),
    }
}

/// What a call has come to, or comes to.
async fn answer<P, M>(
    engine: &Engine,
    id: &SessionId,
    attempt: Attempt<P, M>,
    within: Duration,
    deadline: u64,
) -> Result<P::Reply, CallError<M>>
where
    P: Handle<M>,
    M: Send + 'static,
{
    let (session, queued) = match attempt {
        Attempt::Replied(Reply { value, gate: None }) => return Ok(value),
        Attempt::Replied(reply) => return Box::pin(durable(engine, id, reply, within, deadline)).await,
        Attempt::Waiting(session, queued) => (session, queued),
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
                Refusal::NotAwake => unreachable!("a call waits until it is"),
                Refusal::WrongProcess => CallError::WrongProcess {
                    expected: type_name::<P>(),
                    found: process_of(engine, &id),
                    id,
                    message,
                },
                Refusal::SelfCall => CallError::SelfCall { id, message },
                Refusal::MailboxFull => CallError::MailboxFull {
                    id,
                    capacity: engine.config.mailbox_capacity,
                    message,
                },
            });
        }
    };
    let reply = reply(&*session, queued, deadline)
        .await
        .map_err(|no_reply| match no_reply {
            NoReply::Timeout(message) => CallError::Timeout {
                id: id.clone(),
                within,
                message,
            },
            NoReply::Failed(failure, message) => failure.into_call_error(id.clone(), message),
        })?;
    // Not held while it waits for the store: the session, whose process may be the user's to drop, may end meanwhile.
    drop(session);
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
    let reply = reply(&*session, queued, deadline).await;
    drop(session);
    match reply {
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

    fn is_gone(&self) -> bool {
        self.0.was_taken_back()
    }
}
