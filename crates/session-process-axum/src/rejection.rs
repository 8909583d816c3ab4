//! What an extractor answers when it can't extract.

use axum_core::response::{IntoResponse, Response};
use http::StatusCode;

use crate::Error;

/// The route has no [`SessionLayer`](crate::SessionLayer): a mistake of the application, so 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, thiserror::Error)]
#[error("missing layer: add `session_process_axum::SessionLayer` to this route with `Router::layer`")]
#[non_exhaustive]
pub struct MissingSessionLayer;

impl IntoResponse for MissingSessionLayer {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

/// The request has no live session: 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, thiserror::Error)]
#[error("no session")]
#[non_exhaustive]
pub struct NoSession;

impl IntoResponse for NoSession {
    fn into_response(self) -> Response {
        (StatusCode::UNAUTHORIZED, self.to_string()).into_response()
    }
}

/// Another site has caused the request, and it may change something: 403. What [`SessionLayer`](crate::SessionLayer)
/// answers before anything else sees the request.
///
/// The layer works around services of any body, so its answer has an empty one; this is in the
/// [extensions](http::Response::extensions) of the response, for a layer further out that would answer with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, thiserror::Error)]
#[error("another site has caused this request")]
#[non_exhaustive]
pub struct CrossSiteRequest;

impl CrossSiteRequest {
    pub(crate) fn response<B: Default>() -> http::Response<B> {
        let mut response = http::Response::new(B::default());
        *response.status_mut() = StatusCode::FORBIDDEN;
        response.extensions_mut().insert(Self);
        response
    }
}

impl IntoResponse for CrossSiteRequest {
    fn into_response(self) -> Response {
        (StatusCode::FORBIDDEN, self.to_string()).into_response()
    }
}

/// Why an optional extractor, such as `Option<Session<P>>`, can't say whether there is a session.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionRejection {
    /// The route has no layer.
    #[error(transparent)]
    MissingSessionLayer(#[from] MissingSessionLayer),
    /// The store could not be asked: 503. Not the same as no session.
    #[error(transparent)]
    Session(#[from] Error),
}

impl IntoResponse for SessionRejection {
    fn into_response(self) -> Response {
        match self {
            Self::MissingSessionLayer(rejection) => rejection.into_response(),
            Self::Session(error) => error.into_response(),
        }
    }
}

/// Why there is no [`CurrentId`](crate::CurrentId).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CurrentIdRejection {
    /// The route has no layer.
    #[error(transparent)]
    MissingSessionLayer(#[from] MissingSessionLayer),
    /// The request has no live session.
    #[error(transparent)]
    NoSession(#[from] NoSession),
    /// The store could not be asked: 503.
    #[error(transparent)]
    Session(#[from] Error),
}

impl IntoResponse for CurrentIdRejection {
    fn into_response(self) -> Response {
        match self {
            Self::MissingSessionLayer(rejection) => rejection.into_response(),
            Self::NoSession(rejection) => rejection.into_response(),
            Self::Session(error) => error.into_response(),
        }
    }
}
