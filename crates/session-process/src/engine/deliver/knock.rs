//! Waiting for the beginning of a session.

use std::sync::Arc;

use super::{
    queued::{Queued, Reply},
    wait::{NoReply, reply},
};
use crate::{
    Process,
    engine::{
        chain::{self, Frame},
        run::Run,
        session::{Envelope, Failure, Session},
        ticket::Ticket,
    },
};

/// Waits until a session that is just starting has started, or failed to.
pub(in crate::engine) async fn started<P: Process>(session: &Arc<Session<P>>, deadline: u64) -> Started {
    let queued = Arc::new(Queued::<(), ()>::waiting(
        (),
        chain::frame_for_queued_call(session.address()),
    ));
    if !session.post(Arc::new(Knock(Arc::clone(&queued)))) {
        return Started::Closed;
    }
    match reply(&**session, queued, deadline).await {
        Ok(_) => Started::Yes,
        Err(NoReply::Timeout(_)) => Started::Timeout,
        Err(NoReply::Failed(failure, _)) => Started::Failed(failure),
    }
}

pub(in crate::engine) enum Started {
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

    fn is_gone(&self) -> bool {
        self.0.was_taken_back()
    }
}

/// The wait of a start for its own `init`, which goes on in a task.
pub(in crate::engine) async fn init_done<P: Process>(
    session: &Session<P>,
    ticket: Arc<InitTicket>,
    deadline: u64,
) -> Option<Result<(), Failure>> {
    match reply(session, ticket.0.clone(), deadline).await {
        Ok(_) => Some(Ok(())),
        Err(NoReply::Timeout(_)) => None,
        Err(NoReply::Failed(failure, _)) => Some(Err(failure)),
    }
}

pub(in crate::engine) struct InitTicket(Arc<Queued<(), ()>>);

impl InitTicket {
    pub(in crate::engine) fn new(frame: Option<Arc<Frame>>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Queued {
            ticket: Ticket::begun(),
            frame,
            is_use: true,
        })))
    }

    pub(in crate::engine) fn tell(&self, outcome: Result<(), Failure>) {
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
