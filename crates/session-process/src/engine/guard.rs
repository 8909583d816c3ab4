//! Polling the user's code: panics are caught, and the chain of calls is kept.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::chain::{self, Frame};

pub(super) type Panic = Box<dyn Any + Send>;

pub(super) enum Polled<T> {
    Ready(T),
    /// To be polled again, with its part of the chain.
    Pending(Option<Arc<Frame>>),
    Panicked(Panic),
}

/// Polls a future once, where we stand. `Err`: to be polled again, with its part of the chain.
///
/// With a waker that does nothing: a future that isn't ready is moved to a task, which polls it at once with its own.
#[inline]
pub(super) fn poll_here<F: Future + ?Sized>(
    session: usize,
    called: bool,
    future: Pin<&mut F>,
) -> Result<F::Output, Option<Arc<Frame>>> {
    let on_chain = chain::enter(session, called);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(on_chain.suspend()),
    }
}

/// The same for a future that may panic. The process may be left broken by that; it is never used again, except by its
/// terminate hook.
pub(super) fn poll_in_place<F: Future + ?Sized>(
    session: usize,
    called: bool,
    future: Pin<&mut F>,
) -> Polled<F::Output> {
    match catch_unwind(AssertUnwindSafe(|| poll_here(session, called, future))) {
        Ok(Ok(output)) => Polled::Ready(output),
        Ok(Err(frame)) => Polled::Pending(frame),
        Err(panic) => Polled::Panicked(panic),
    }
}

/// Polls a future of the user's inside one of ours: ready with its output, or with its panic.
#[inline]
pub(super) fn poll_caught<F: Future>(future: Pin<&mut F>, task: &mut Context<'_>) -> Poll<Result<F::Output, Panic>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(task))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// A future of the user's inside a task, in whatever box: resolves to its output, or to its panic.
pub(super) struct Guarded<F> {
    session: usize,
    frame: Option<Arc<Frame>>,
    future: F,
}

impl<F: Future + Unpin> Guarded<F> {
    pub(super) fn new(session: usize, frame: Option<Arc<Frame>>, future: F) -> Self {
        Self { session, frame, future }
    }
}

impl<F: Future + Unpin> Future for Guarded<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let on_chain = chain::enter_again(this.session, this.frame.take());
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.future).poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                this.frame = on_chain.suspend();
                Poll::Pending
            }
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// What a panic said. The payload is dropped here, as its `Drop` may panic too.
#[cold]
pub(super) fn panic_text(panic: Panic) -> String {
    let text = if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    };
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // A payload whose drop panics with a payload: it could go on like this for ever.
        std::mem::forget(another);
    }
    text
}

/// Runs the user's code, which may panic, even with a payload whose `Drop` panics. An error says what the panic said.
#[inline]
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(panic_text)
}

/// Drops what belongs to the user, whose `Drop` may panic.
pub(super) fn drop_quietly<T>(value: T) -> Result<(), String> {
    caught(|| drop(value))
}
