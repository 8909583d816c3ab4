//! Running what waits: a task that holds the run right and works the mailbox off.

use std::{pin::Pin, sync::Arc};

use super::{
    guard::{Guarded, drop_quietly, panic_text},
    lifecycle,
    mailbox::Next,
    session::{Envelope, Failure, Leftover, Session},
    side::Farewell,
};
use crate::{EndReason, Process, events::Event};

/// Messages that a task handles before it lets others have their turn on its thread.
const SLICE: usize = 64;

/// Messages that a sender handles where it stands, besides the one that it could begin at once, before it leaves the others
/// to a task. Most queues are shorter:
/// those who had to queue met somebody for a moment.
const SLICE_IN_PLACE: usize = 8;

/// The future that handles one message: it replies by itself.
pub(super) type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The run right of a session, with the duty to give it up or to bring the session to its end.
///
/// If it is dropped before that, because its task was aborted or the runtime is gone, the session is cut off: nobody
/// waits for a reply that can't come, and the place in the registry is free.
pub(super) struct Turn<P: Process> {
    session: Option<Arc<Session<P>>>,
    /// The message at work.
    current: Option<Arc<dyn Envelope<P>>>,
}

impl<P: Process> Turn<P> {
    pub(super) fn new(session: Arc<Session<P>>) -> Self {
        Self {
            session: Some(session),
            current: None,
        }
    }

    pub(super) fn at(session: Arc<Session<P>>, current: Arc<dyn Envelope<P>>) -> Self {
        Self {
            session: Some(session),
            current: Some(current),
        }
    }

    /// The message at work is done.
    pub(super) fn clear(&mut self) {
        self.current = None;
    }

    pub(super) fn session(&self) -> &Arc<Session<P>> {
        self.session.as_ref().expect("held until it is given up")
    }

    /// The run right is given up, or has gone on to another `Turn`.
    pub(super) fn give_up(mut self) -> Arc<Session<P>> {
        self.session.take().expect("held until it is given up")
    }

    /// The session is over: tells everybody, once.
    pub(super) fn finish(self, reason: EndReason) {
        farewell(&self.give_up(), reason);
    }
}

impl<P: Process> Drop for Turn<P> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let reason = session.end_reason().unwrap_or(EndReason::Shutdown);
        session.close(reason, Leftover::Refuse);
        session.refuse_waiting(&Failure::Ended(reason));
        if let Some(current) = self.current.take() {
            current.refuse(Failure::Ended(reason));
            let _ = drop_quietly(current);
        }
        // The handler's future, which borrows the process, may be dropped after this.
        farewell(&session, reason);
    }
}

/// Only for the holder of the run right, which it keeps for good.
fn farewell<P: Process>(session: &Arc<Session<P>>, reason: EndReason) {
    // What is the user's first: it may take its time, and is not for whoever happens to drop the session last. The process
    // is there still if its `init` failed after it was made, and callers whose changes are not saved if it was cut off. (Borrowed by a handler that was cut off: they go with the
    // session.)
    if let Ok(mut core) = session.core.try_borrow_mut() {
        let core = core.get_mut();
        let over: Box<dyn lifecycle::Recipe<P>> = Box::new(lifecycle::FromStore);
        let _ = drop_quietly(std::mem::replace(&mut core.recipe, over));
        let _ = drop_quietly(core.process.take());
        let _ = drop_quietly(core.beside.take());
    }
    // Before anybody is told of the end: who is told finds the id free, and doesn't look for it to be in a loop.
    session.engine.forget(&**session);
    let farewell: Option<Farewell> = session.side.lock().finish(reason);
    let Some(farewell) = farewell else { return };
    if session.is_ready() {
        session.engine.events.emit(|| Event::Ended {
            session: super::AnySession::id(&**session).public_handle(),
            process: std::any::type_name::<P>(),
            reason,
            lifetime: session.life().age(session.engine.now()),
        });
    }
    farewell.say();
}

/// For the holder of the run right of a session that has not expired.
pub(super) fn spawn_drain<P: Process>(turn: Turn<P>) {
    let session = Arc::clone(turn.session());
    session.mailbox().away();
    session.spawn(drain(turn));
}

/// For a sender that holds the run right: handles what waits where it stands.
///
/// A task would come later, and until then every further message has to queue too. If senders keep all threads busy
/// (a cast never waits), that lasts until the mailbox is full.
pub(super) fn drain_in_place<P: Process>(turn: Turn<P>) {
    let session = Arc::clone(turn.session());
    session.run_in_place(drain_sliced(turn, SLICE_IN_PLACE));
}

/// Handles what waits, in order, until nothing does.
pub(super) async fn drain<P: Process>(turn: Turn<P>) {
    drain_sliced(turn, SLICE).await;
}

/// The same, with the first pause after `first` messages.
async fn drain_sliced<P: Process>(mut turn: Turn<P>, first: usize) {
    let session = Arc::clone(turn.session());
    let mut left = first;
    loop {
        match session.mailbox().next() {
            Next::Message(envelope) => {
                if let Some(expiry) = session.life().judge_at_work(session.engine.now()) {
                    let reason = EndReason::Expired(expiry);
                    session.close(reason, Leftover::Refuse);
                    envelope.refuse(Failure::Ended(reason));
                } else if let Some(run) = Arc::clone(&envelope).open(Arc::clone(&session)) {
                    turn.current = Some(Arc::clone(&envelope));
                    let handled = Guarded::new(session.address(), envelope.frame(), run).await;
                    turn.clear();
                    if let Err(panic) = handled {
                        return crash(turn, panic_text(panic), envelope).await;
                    }
                    if envelope.is_use() {
                        session.life().used(session.engine.now());
                    }
                }
                // Where nobody waits for it, the message or the reply is still in it, and is the user's.
                let _ = drop_quietly(envelope);
            }
            Next::Idle => {
                // Given up by `next`; another may hold it by now.
                drop(turn.give_up());
                return;
            }
            Next::Closed => return lifecycle::end(turn).await,
        }
        left -= 1;
        if left == 0 {
            left = SLICE;
            tokio::task::yield_now().await;
        }
    }
}

/// After a panic: whoever waited learns of it, then the session recovers or ends.
pub(super) async fn crash<P: Process>(turn: Turn<P>, panic: String, at: Arc<dyn Envelope<P>>) {
    turn.session().side.lock().stop_tasks();
    // Those who wait first: when the caller learns of the crash, its next message is for the process after it.
    turn.session().refuse_waiting(&Failure::Crashed);
    at.refuse(Failure::Crashed);
    let _ = drop_quietly(at);
    lifecycle::recover(turn, panic).await;
}
