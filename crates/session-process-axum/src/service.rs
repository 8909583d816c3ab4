//! [`SessionService`]: reads the cookie on the way in, writes it on the way out.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    CrossSiteRequest,
    slot::{Shared, Slot},
};

/// The service that [`SessionLayer`](crate::SessionLayer) makes.
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> SessionService<S> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if self.shared.origins.refuses(&request) {
            self.shared.sessions.refused_request("cross_site");
            return ResponseFuture {
                state: State::Refused {
                    response: Some(CrossSiteRequest::response()),
                },
            };
        }
        let slot = Slot::new(Arc::clone(&self.shared), request.headers_mut());
        request.extensions_mut().insert(slot.clone());
        ResponseFuture {
            state: State::Inside {
                inner: self.inner.call(request),
                slot: Sealed(slot),
            },
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService")
            .field("inner", &self.inner)
            .field("cookie", &self.shared.cookie)
            .finish_non_exhaustive()
    }
}

/// Seals its slot when it is dropped: the client is gone, or has its response.
struct Sealed(Slot);

impl Drop for Sealed {
    fn drop(&mut self) {
        self.0.seal();
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pin_project! {
    /// The response of a [`SessionService`].
    pub struct ResponseFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B> {
        /// The service is at work.
        Inside { #[pin] inner: F, slot: Sealed },
        /// It is done, and whether the session of the new cookie is still there is asked of the store.
        Leaving { response: Option<Response<B>>, slot: Sealed, has_ended: BoxFuture<bool> },
        /// It was not asked.
        Refused { response: Option<Response<B>> },
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const ONCE: &str = "polled after it was done";
        let mut state = self.project().state;
        loop {
            let leaving = match state.as_mut().project() {
                StateProjection::Inside { inner, slot } => {
                    let mut response = ready!(inner.poll(cx))?;
                    let slot = &slot.0;
                    slot.seal();
                    let Some(id) = slot.to_be_asked_for() else {
                        slot.finish(response.headers_mut(), false);
                        return Poll::Ready(Ok(response));
                    };
                    let asking = slot.clone();
                    State::Leaving {
                        response: Some(response),
                        slot: Sealed(slot.clone()),
                        has_ended: Box::pin(async move { asking.has_ended(&id).await }),
                    }
                }
                StateProjection::Leaving {
                    response,
                    slot,
                    has_ended,
                } => {
                    let has_ended = ready!(has_ended.as_mut().poll(cx));
                    let mut response = response.take().expect(ONCE);
                    slot.0.finish(response.headers_mut(), has_ended);
                    return Poll::Ready(Ok(response));
                }
                StateProjection::Refused { response } => return Poll::Ready(Ok(response.take().expect(ONCE))),
            };
            state.set(leaving);
        }
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
