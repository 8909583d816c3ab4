//! [`ApiError`]: every error under `/api` as `{"error": a word, "message": a sentence}`.

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use session_process::{records::RecordError, redux, store::StoreError};
use session_process_axum::Error as SessionError;

use crate::cart::Unfit;

#[derive(Debug)]
pub(crate) enum ApiError {
    UnknownItem,
    NotInCart,
    CartFull,
    BadName,
    NotSignedIn,
    UnknownSession,
    CrossSite,
    NotFound,
    MethodNotAllowed,
    Body(JsonRejection),
    Session(SessionError),
    Records(RecordError),
    Refused(redux::Refused),
    History(redux::Error),
}

/// The page does so by itself.
const REPEAT: &str = "the session was changed elsewhere at the same moment; please repeat";

impl ApiError {
    fn parts(&self) -> (StatusCode, &'static str, String) {
        let (status, word, message) = match self {
            Self::UnknownItem => (StatusCode::NOT_FOUND, "unknown_item", "we don't sell that"),
            Self::NotInCart => (StatusCode::NOT_FOUND, "not_in_cart", "that is not in the cart"),
            Self::CartFull => (StatusCode::CONFLICT, "cart_full", "no more fits into the cart"),
            Self::BadName => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad_name",
                "a name has 1 to 40 characters, none of them a control character",
            ),
            Self::NotSignedIn => (StatusCode::UNAUTHORIZED, "not_signed_in", "sign in first"),
            Self::UnknownSession => (StatusCode::NOT_FOUND, "unknown_session", "you have no such session"),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "this request came from another site",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is nothing here"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "not with this method",
            ),
            Self::Body(rejection) => return (rejection.status(), "bad_request", rejection.body_text()),
            Self::Refused(refused) => return refused_parts(refused),
            Self::History(error) => return (StatusCode::CONFLICT, error.kind(), error.to_string()),
            Self::Records(RecordError::Contended { .. }) => (StatusCode::CONFLICT, "repeat", REPEAT),
            Self::Records(error) => return (StatusCode::CONFLICT, error.kind(), error.to_string()),
            // Another node was first, and the session is as that one left it.
            Self::Session(error) if error.status() == StatusCode::CONFLICT => (StatusCode::CONFLICT, "repeat", REPEAT),
            Self::Session(error) => (error.status(), "session", error.body_text()),
        };
        (status, word, message.to_owned())
    }

    /// For a layer that makes a response of its own.
    pub(crate) fn response<B: From<String>>(&self) -> axum::http::Response<B> {
        let (status, error, message) = self.parts();
        let body = json!({ "error": error, "message": message }).to_string();
        let mut response = axum::http::Response::new(B::from(body));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// A store refused an action: the cart's own reasons, and those of actions that came by name.
fn refused_parts(refused: &redux::Refused) -> (StatusCode, &'static str, String) {
    let unfit = match refused {
        redux::Refused::Rejected { reason, .. } => reason.downcast_ref::<Unfit>(),
        _ => None,
    };
    match unfit {
        Some(Unfit::Unknown) => ApiError::UnknownItem.parts(),
        Some(Unfit::Full) => ApiError::CartFull.parts(),
        Some(Unfit::NotThere) => ApiError::NotInCart.parts(),
        None => {
            let status = match refused {
                redux::Refused::UnknownAction { .. } => StatusCode::NOT_FOUND,
                redux::Refused::BadPayload { .. } | redux::Refused::Rejected { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, refused.kind(), refused.to_string())
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response: Response = self.response::<Body>();
        if let Self::Session(error) = self {
            // It logs itself, and knows when to come back.
            let mut plain = error.into_response();
            if let Some(after) = plain.headers_mut().remove(header::RETRY_AFTER) {
                response.headers_mut().insert(header::RETRY_AFTER, after);
            }
        }
        response
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Session(error.into())
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Store(error) => error.into(),
            // It ended while it was signed in.
            RecordError::Missing => Self::NotSignedIn,
            error => Self::Records(error),
        }
    }
}

/// `Json`, with our errors.
#[derive(Debug)]
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T, S> FromRequest<S> for ApiJson<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(value) = Json::from_request(request, state).await.map_err(ApiError::Body)?;
        Ok(Self(value))
    }
}
