//! [`Observer`] and [`Follower`]: for those who show a session to somebody, such as open pages.

use crate::EndReason;

/// Sees the state of a process after each message that may have changed it, in the process's own turn: so it sees
/// every state once, whole, and in order. It is no use of the session.
///
/// What it sees is told in two steps, because a state may be seen before it is durable:
/// [`look`](Self::look) takes what there is to tell, and [`publish`](Self::publish) tells it, at once for a volatile
/// process, and when the store has it for one that is written through. Both run on whichever thread handles the
/// message, so they must be quick, and never wait.
///
/// An observer stays when the process begins anew after a panic, and goes with the session. One that panics is dropped.
///
/// ```
/// use std::sync::mpsc;
/// use session_process::{Context, Handle, Observer, Process, SessionId, Sessions};
///
/// #[derive(Default)]
/// struct Counter(u64);
/// impl Process for Counter {}
///
/// struct Add(u64);
/// impl Handle<Add> for Counter {
///     type Reply = ();
///     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) { self.0 += n; }
/// }
///
/// struct Tell { seen: u64, to: mpsc::Sender<u64> }
/// impl Observer<Counter> for Tell {
///     fn look(&mut self, counter: &Counter) { self.seen = counter.0; }
///     fn publish(&mut self) { let _ = self.to.send(self.seen); }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::<Counter>::builder().build()?;
/// let id = SessionId::generate();
/// sessions.start(&id).await?;
/// let (to, told) = mpsc::channel();
/// sessions.observe(&id, Tell { seen: 0, to }).await?;
/// sessions.call(&id, Add(2)).await?;
/// assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 2]);
/// # Ok(()) }
/// ```
pub trait Observer<P>: Send + 'static {
    /// The state now. Called again before [`publish`](Self::publish), it takes the place of what was seen before.
    fn look(&mut self, process: &P);

    /// What was looked at last may be told.
    fn publish(&mut self);

    /// Nobody wants to be told any more: asked before each look, and then the observer is dropped.
    fn is_done(&self) -> bool {
        false
    }
}

/// Hears what becomes of a session: see [`Sessions::follow`](crate::Sessions::follow). It is told on whichever thread
/// brings it about, so it must be quick, and never wait.
pub trait Follower: Send + Sync + 'static {
    /// The session has another id. The one under which it was followed is dead.
    fn rotated(&self);

    /// The session has ended; its terminate hook has run.
    fn ended(&self, reason: EndReason);
}
