//! Observers of a process, in its session: run by the holder of the run right.
//!
//! # Invariants
//! 1. What a write-through process has not saved yet is looked at and not told: [`stage`](Observers::stage) when the
//!    state is written down, [`publish`](Observers::publish) when the store has it.
//! 2. An observer that came while changes were on their way (`Fresh`) looks at the next state that is durable or
//!    written down.
//! 3. One that panics goes alone.

use std::{any::type_name, sync::Arc, time::Duration};

use super::{
    Engine, chain,
    chain::Frame,
    deliver::{self, NotFound, Queued},
    guard::{caught, drop_quietly},
    keep, lifecycle,
    mailbox::Push,
    run::{self, Run, Turn},
    session::{Core, Envelope, Failure, Session},
};
use crate::{
    CallError, EndReason, Observer, Process, SessionId,
    clock::nanos,
    durability::{Durable, Pace},
};

pub(crate) struct Observers<P>(Vec<Observing<P>>);

impl<P> Default for Observers<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

struct Observing<P> {
    observer: Box<dyn Observer<P>>,
    seen: Seen,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Seen {
    /// Nothing yet.
    Fresh,
    /// Something that is not told.
    Staged,
    Told,
}

impl<P: Process> Observers<P> {
    /// Looks, and tells when it may.
    pub(super) fn stage(&mut self, process: &P) {
        self.each(|observing| {
            let wants = !observing.observer.is_done();
            if wants {
                observing.observer.look(process);
                observing.seen = Seen::Staged;
            }
            wants
        });
    }

    /// What was staged is durable.
    pub(super) fn publish(&mut self) {
        self.each(|observing| {
            if observing.seen == Seen::Staged {
                observing.observer.publish();
                observing.seen = Seen::Told;
            }
            true
        });
    }

    /// All there is of `process` is durable, or needn't be.
    pub(super) fn tell(&mut self, process: &P) {
        self.stage(process);
        self.publish();
    }

    /// Those who came while something was on its way, and now nothing is.
    pub(super) fn tell_fresh(&mut self, process: &P) {
        self.each(|observing| {
            if observing.seen == Seen::Fresh {
                observing.observer.look(process);
                observing.observer.publish();
                observing.seen = Seen::Told;
            }
            true
        });
    }

    /// Those for which `work` returns false, or panics, are dropped.
    fn each(&mut self, mut work: impl FnMut(&mut Observing<P>) -> bool) {
        let mut at = 0;
        while at < self.0.len() {
            let observing = &mut self.0[at];
            if caught(|| work(observing)).unwrap_or(false) {
                at += 1;
            } else {
                let _ = drop_quietly(self.0.remove(at));
            }
        }
    }
}

/// After a message of a process that is observed. One that is written through tells when it is.
pub(super) fn handled<P: Process>(session: &Session<P>, core: &mut Core<P>) {
    let (Some(beside), Some(process)) = (&mut core.beside, &core.process) else {
        return;
    };
    if beside.observers.0.is_empty() {
        return;
    }
    let unchanged = match (&P::DURABILITY.0, &session.kept) {
        (
            Some(Durable {
                pace: Pace::Through, ..
            }),
            Some(_),
        ) => return,
        (Some(_), Some(_)) => core.cx.is_unchanged(),
        _ => core.cx.take_unchanged(),
    };
    if !unchanged {
        beside.observers.tell(process);
    }
}

/// Has `observer` see the process, which is woken if it sleeps.
pub(crate) async fn observe<P: Process>(
    engine: &Arc<Engine>,
    id: &SessionId,
    observer: Box<dyn Observer<P>>,
) -> Result<(), CallError<()>> {
    chain::take_turn().await;
    let within = engine.config.call_timeout;
    let deadline = engine.now().saturating_add(nanos(within));
    let mut observer = Some(observer);
    for _ in 0..deliver::WAKES {
        let taken = observer.take().expect("comes back unless it is there");
        match observe_once(engine, id, taken, within, deadline).await {
            Ok(()) => return Ok(()),
            Err((
                CallError::NotStarted { .. }
                | CallError::Ended {
                    reason: EndReason::Asleep,
                    ..
                },
                Some(back),
            )) if P::DURABILITY.0.is_some() && engine.records.is_some() => observer = Some(back),
            Err((error, _)) => return Err(error),
        }
        match Box::pin(lifecycle::wake::<P>(engine, id, within, deadline)).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(deliver::not_awake(id.clone(), within, (), error)),
        }
    }
    Err(CallError::NotStarted {
        id: id.clone(),
        message: (),
    })
}

type Back<P> = Option<Box<dyn Observer<P>>>;

async fn observe_once<P: Process>(
    engine: &Arc<Engine>,
    id: &SessionId,
    observer: Box<dyn Observer<P>>,
    within: Duration,
    deadline: u64,
) -> Result<(), (CallError<()>, Back<P>)> {
    let not_started = |back| {
        let (id, message) = (id.clone(), ());
        (CallError::NotStarted { id, message }, Some(back))
    };
    let session = match deliver::find::<P>(engine, id) {
        Ok(session) => session,
        Err(NotFound::NotStarted) => return Err(not_started(observer)),
        Err(NotFound::WrongProcess) => {
            let error = CallError::WrongProcess {
                id: id.clone(),
                expected: type_name::<P>(),
                found: deliver::process_of(engine, id),
                message: (),
            };
            return Err((error, None));
        }
    };
    if chain::check(session.address()) == chain::Chain::Cycle {
        let (id, message) = (id.clone(), ());
        return Err((CallError::SelfCall { id, message }, None));
    }
    if session.end_if_over(engine.now()) {
        return Err(not_started(observer));
    }
    let frame = chain::frame_for_queued_call(session.address());
    let queued = Arc::new(Queued::waiting(observer, frame));
    let envelope = Arc::new(Begin(Arc::clone(&queued))) as Arc<dyn Envelope<P>>;
    match session.mailbox().push(envelope, Some(engine.config.mailbox_capacity)) {
        Push::Queued => {}
        Push::Begin => {
            // `None`: whoever ends the session just now has refused it already, and the ticket says so.
            let mut back = None;
            if session.is_in_time(engine.now(), || back = queued.take()) {
                run::spawn_drain(Turn::new(Arc::clone(&session)));
            }
            if let Some(back) = back {
                return Err(not_started(back));
            }
        }
        Push::Full(_) => {
            let (id, capacity, message) = (id.clone(), engine.config.mailbox_capacity, ());
            return Err((CallError::MailboxFull { id, capacity, message }, None));
        }
        Push::Closed(_) => {
            let back = queued.take().expect("it was not accepted");
            return Err(not_started(back));
        }
    }
    match deliver::reply(&*session, queued, deadline).await {
        Ok(_) => Ok(()),
        Err(deliver::NoReply::Timeout(message)) => {
            let message = message.map(drop);
            let id = id.clone();
            Err((CallError::Timeout { id, within, message }, None))
        }
        Err(deliver::NoReply::Failed(failure, back)) => {
            Err((failure.into_call_error(id.clone(), back.as_ref().map(|_| ())), back))
        }
    }
}

/// The message that brings an observer: no use of the session.
struct Begin<P: Process>(Arc<Queued<Box<dyn Observer<P>>, ()>>);

impl<P: Process> Envelope<P> for Begin<P> {
    fn open(self: Arc<Self>, session: Arc<Session<P>>) -> Option<Run> {
        let observer = self.0.take()?;
        Some(Box::pin(async move {
            let mut core = session.core.borrow_mut();
            let core = core.get_mut();
            let waits = keep::pending(core).is_some();
            core.cx.take_unchanged();
            let observers = &mut core.beside.get_or_insert_default().observers;
            observers.0.push(Observing {
                observer,
                seen: Seen::Fresh,
            });
            if let (false, Some(process)) = (waits, &core.process) {
                observers.tell_fresh(process);
            }
            self.0.done(());
        }))
    }

    fn refuse(&self, why: Failure) {
        self.0.fail(why);
    }

    fn frame(&self) -> Option<Arc<Frame>> {
        self.0.chain()
    }

    fn is_gone(&self) -> bool {
        self.0.was_taken_back()
    }
}
