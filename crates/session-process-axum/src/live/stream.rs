//! [`Stream`]: a page's frames as the body of a response.
//!
//! A server asks a body for more when it has put away what it had, into its own buffer or the system's. One whose reader
//! takes nothing is never asked again and never dropped, so the page is in a lock, from which it can be taken: see
//! [`watch`].

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame as Chunk};
use tokio::time::{Instant, sleep_until};

use super::{
    page::Page,
    pages::{Open, WeakPages},
};

pub(super) struct Stream(Arc<Held>);

/// A page that is read as a stream, and its place among the pages.
pub(super) struct Held(Mutex<State>);

struct State {
    /// Until it is cut off.
    page: Option<Page>,
    open: Open,
    /// Of whoever waited last for a frame.
    waker: Option<Waker>,
}

impl Stream {
    pub(super) fn new(page: Page, open: Open) -> Self {
        Self(Arc::new_cyclic(|held| {
            let (page, open) = (Some(page), open.watched(held.clone()));
            let waker = None;
            Held(Mutex::new(State { page, open, waker }))
        }))
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk<Bytes>, Infallible>>> {
        let mut state = self.0.lock();
        // It took something after all, and too late: the end of the stream makes it connect again.
        let Some(page) = &mut state.page else {
            return Poll::Ready(None);
        };
        let frame = page.poll(cx);
        if frame.is_pending() {
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        frame.map(|frame| frame.map(|frame| Ok(Chunk::data(frame.into_event()))))
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the page if its reader has taken nothing for too long. What is left is the connection, which counts until
    /// the server drops it.
    fn cut_if_stuck(&self, now: Instant) {
        let mut state = self.lock();
        if state.page.as_ref().is_some_and(|page| page.is_stuck(now)) {
            let mut page = state.page.take();
            let waker = state.waker.take();
            state.open.cut();
            drop(state);
            if let Some(page) = &mut page {
                page.closes_for("stuck");
            }
            // Nobody else does so any more, and if it can take something after all, that is the end.
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// Streams that are looked at before others have their turn.
const AT_A_TIME: usize = 256;

/// Cuts off readers that are stuck, while there are any streams. `every`: how often it looks.
pub(super) async fn watch(pages: WeakPages, every: Duration) {
    loop {
        let at = Instant::now() + every;
        sleep_until(at).await;
        // The process stood still, or its runtime was blocked: readers have had no time to take what there is.
        if at.elapsed() > every {
            continue;
        }
        let mut from = 0;
        loop {
            let Some(pages) = pages.upgrade() else { return };
            let Some((held, next)) = pages.streams(from, AT_A_TIME) else {
                break;
            };
            drop(pages);
            let now = Instant::now();
            held.iter().for_each(|held| held.cut_if_stuck(now));
            drop(held);
            from = next;
            tokio::task::yield_now().await;
        }
        let Some(pages) = pages.upgrade() else { return };
        if pages.unwatch_if_none() {
            return;
        }
    }
}
