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

/// Polls a future once, where we stand.
///
/// With a waker that does nothing: a future that isn't ready is moved to a task, which polls it at once with its own.
pub(super) fn poll_in_place<F: Future>(session: usize, called: bool, future: Pin<&mut F>) -> Polled<F::Output> {
    let on_chain = chain::enter(session, called, None);
    let mut cx = Context::from_waker(Waker::noop());
    // The process may be left broken by a panic; it is never used again, except by its terminate hook.
    match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
        Ok(Poll::Ready(output)) => Polled::Ready(output),
        Ok(Poll::Pending) => Polled::Pending(on_chain.suspend()),
        Err(panic) => Polled::Panicked(panic),
    }
}

/// A future of the user's inside a task: resolves to its output, or to its panic.
pub(super) struct Guarded<F: ?Sized> {
    session: usize,
    frame: Option<Arc<Frame>>,
    future: Pin<Box<F>>,
}

impl<F: Future + ?Sized> Guarded<F> {
    pub(super) fn new(session: usize, frame: Option<Arc<Frame>>, future: Pin<Box<F>>) -> Self {
        Self { session, frame, future }
    }
}

impl<F: Future + ?Sized> Future for Guarded<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let on_chain = chain::enter(this.session, false, this.frame.take());
        match catch_unwind(AssertUnwindSafe(|| this.future.as_mut().poll(cx))) {
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
pub(super) fn panic_text(panic: Panic) -> String {
    let text = if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    };
    if let Err(another) = drop_quietly(panic) {
        // A payload whose drop panics with a payload: it could go on like this for ever.
        std::mem::forget(another);
    }
    text
}

/// Drops what belongs to the user, whose `Drop` may panic.
pub(super) fn drop_quietly<T>(value: T) -> Result<(), Panic> {
    catch_unwind(AssertUnwindSafe(|| drop(value)))
}
