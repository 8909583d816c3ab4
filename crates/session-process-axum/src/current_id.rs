//! [`CurrentId`]: the id of the request's session, for those who address it otherwise.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use session_process::SessionId;

use crate::{CurrentIdRejection, NoSession, SessionRejection, slot::Slot};

/// Extractor: the id of the live session that the request came with. Without one, the answer is 401, and 503 where the
/// store can't be asked;
/// `Option<CurrentId>` takes both.
///
/// It never starts a session. (A type of its own because neither the trait nor [`SessionId`] belongs to this crate.)
///
/// ```
/// use session_process_axum::CurrentId;
///
/// async fn whoami(CurrentId(id): CurrentId) -> String {
///     format!("you are {id}") // its public handle
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::get(whoami));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentId(pub SessionId);

impl<S: Send + Sync> FromRequestParts<S> for CurrentId {
    type Rejection = CurrentIdRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let id = Slot::of(parts)?.live().await?;
        Ok(Self(id.ok_or(NoSession)?))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for CurrentId {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(Slot::of(parts)?.live().await?.map(Self))
    }
}
