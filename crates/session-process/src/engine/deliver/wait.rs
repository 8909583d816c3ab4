//! Waiting for a reply, until a deadline.

use std::{future::poll_fn, sync::Arc, task::Poll};

use super::queued::{Queued, Reply};
use crate::{
    Process,
    engine::{
        session::{Failure, Session},
        ticket::{Outcome, Ticket, Withdrawn},
    },
};

/// Waits for a reply of `session`, until `deadline`.
pub(in crate::engine) async fn reply<P: Process, M, R>(
    session: &Session<P>,
    queued: Arc<Queued<M, R>>,
    deadline: u64,
) -> Result<Reply<R>, NoReply<M>> {
    let mut wait = Wait {
        session,
        queued: Some(&queued),
    };
    let outcome = match patience(&queued.ticket).await {
        Some(outcome) => Some(outcome),
        None => {
            let reply = poll_fn(|cx| queued.ticket.poll(cx));
            session.engine.clock.before(deadline, reply).await
        }
    };
    wait.over();
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => match withdraw(session, &queued) {
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

pub(in crate::engine) enum NoReply<M> {
    Timeout(Option<M>),
    Failed(Failure, Option<M>),
}

/// The caller's side of a wait: dropped before its time, it takes the message back.
struct Wait<'a, P: Process, M, R> {
    session: &'a Session<P>,
    queued: Option<&'a Queued<M, R>>,
}

impl<P: Process, M, R> Wait<'_, P, M, R> {
    fn over(&mut self) {
        if let Some(frame) = self.queued.take().and_then(|queued| queued.frame.as_ref()) {
            frame.caller_left();
        }
    }
}

impl<P: Process, M, R> Drop for Wait<'_, P, M, R> {
    fn drop(&mut self) {
        if let Some(queued) = self.queued {
            self.over();
            drop(withdraw(self.session, queued));
        }
    }
}

fn withdraw<P: Process, M, R>(session: &Session<P>, queued: &Queued<M, R>) -> Withdrawn<M, Reply<R>, Failure> {
    let withdrawn = queued.ticket.withdraw();
    // After it, so that who is told finds the message gone.
    if matches!(withdrawn, Withdrawn::NotBegun(_)) {
        session.mailbox().withdrawn();
    }
    withdrawn
}
