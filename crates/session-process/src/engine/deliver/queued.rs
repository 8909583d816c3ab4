//! A message in a mailbox, and the reply to it.

use std::sync::Arc;

use super::{Handled, handle};
use crate::{
    Handle,
    engine::{
        chain::Frame,
        keep::Batch,
        run::Run,
        session::{Envelope, Failure, Leftover, Session},
        ticket::Ticket,
    },
};

/// A reply, and what it has to wait for: its caller must not have it before that is durable.
pub(in crate::engine) struct Reply<R> {
    pub(super) value: R,
    pub(super) gate: Gate,
}

pub(super) type Gate = Option<Arc<Batch>>;

impl<R> Reply<R> {
    /// Waits for nothing.
    pub(super) fn free(value: R) -> Self {
        Self { value, gate: None }
    }
}

/// A message in a mailbox, with the place for its reply.
pub(in crate::engine) struct Queued<M, R> {
    pub(super) ticket: Ticket<M, Reply<R>, Failure>,
    pub(super) frame: Option<Arc<Frame>>,
    pub(super) is_use: bool,
}

/// For messages of the engine's own, whose replies wait for nothing.
impl<M, R> Queued<M, R> {
    pub(in crate::engine) fn waiting(message: M, frame: Option<Arc<Frame>>) -> Self {
        Self {
            ticket: Ticket::queued(message),
            frame,
            is_use: false,
        }
    }

    pub(in crate::engine) fn take(&self) -> Option<M> {
        self.ticket.open()
    }

    pub(in crate::engine) fn done(&self, value: R) {
        self.ticket.reply(Reply::free(value));
    }

    pub(in crate::engine) fn fail(&self, why: Failure) {
        self.ticket.refuse(why);
    }

    pub(in crate::engine) fn chain(&self) -> Option<Arc<Frame>> {
        self.frame.clone()
    }

    pub(in crate::engine) fn was_taken_back(&self) -> bool {
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
