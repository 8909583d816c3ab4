//! The developer page: all that happened in one's own session, with a slider for time travel. With `--developer` only.

use axum::{
    Json, Router,
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use session_process::redux::{self, Timeline};
use session_process_axum::Session;

use crate::{
    Shop,
    error::{ApiError, ApiJson},
    visitor::Visit,
};

pub(crate) fn api() -> Router<Shop> {
    Router::new()
        .route("/developer", get(timeline))
        .route("/developer/travel", post(travel))
}

/// `null` without a session.
async fn timeline(session: Session<Visit>) -> Result<Json<Option<Timeline>>, ApiError> {
    match session.call_if_started(redux::timeline()).await? {
        None => Ok(Json(None)),
        Some(Ok(timeline)) => Ok(Json(Some(timeline))),
        Some(Err(error)) => Err(ApiError::History(error)),
    }
}

#[derive(Debug, Deserialize)]
struct Travel {
    position: u64,
}

async fn travel(session: Session<Visit>, ApiJson(travel): ApiJson<Travel>) -> Result<StatusCode, ApiError> {
    match session.call_if_started(redux::time_travel(travel.position)).await? {
        None | Some(Ok(_)) => Ok(StatusCode::NO_CONTENT),
        Some(Err(error)) => Err(ApiError::History(error)),
    }
}
