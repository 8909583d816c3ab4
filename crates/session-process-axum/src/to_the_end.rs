//! [`to_the_end`]: work that a client that goes away doesn't break off.

use std::{future::poll_fn, panic::resume_unwind, task::Poll};

use tokio::runtime::Handle;

/// Runs a future where the caller stands; what doesn't finish there goes on in a task, whatever becomes of the caller.
///
/// Half a logout would leave a session that its user believes to be ended. Outside a runtime it runs in the caller to
/// its end.
///
/// # Panics
/// If the future does.
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let mut work = Box::pin(work);
    // Most are done in their first poll: those of a session in memory.
    let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
    if let Poll::Ready(done) = first {
        return done;
    }
    let Ok(runtime) = Handle::try_current() else {
        return work.await;
    };
    match runtime.spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, and drops its tasks: ours as well.
            Err(_) => std::future::pending().await,
        },
    }
}
