//! `GET`: a page connects, by server-sent events or a WebSocket.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use axum_core::body::Body;
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde_json::json;
use session_process::{Follower, Process};

use super::{
    Live,
    frame::Resume,
    hub::{End, Hub},
    page::{Page, Transport},
    pages::{Open, Refused},
    sends::words,
    socket,
    stream::Stream,
    watch::Watch,
};
use crate::{Error, MissingSessionLayer, slot::Slot};

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Refusal {
    /// From another site.
    Origin,
    NoLayer(MissingSessionLayer),
    NoSession,
    /// The session, or its user, has as many pages as it may.
    TooMany,
    /// The server has, or it shuts down.
    NotNow,
    ViewFailed,
    Error(Error),
}

pub(super) async fn connect<P: Process>(State(live): State<Live<P>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let upgrade = parts.headers.get(header::UPGRADE);
    if upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return socket::connect(live, parts).await;
    }
    // Before anything is read of a session.
    if !live.shared.origins.allow_request(&parts.headers) {
        return Refusal::Origin.into_response();
    }
    let resume = parts.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let resume = resume.and_then(Resume::from_event_id);
    match open(&live, &parts, Transport::Sse, resume.as_ref()).await {
        Ok((page, open)) => stream(Stream::new(page, open)),
        Err(refusal) => refusal.into_response(),
    }
}

fn stream(stream: Stream) -> Response {
    let mut response = Response::new(Body::new(stream));
    let headers = response.headers_mut();
    let event_stream = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, event_stream);
    // Nor transformed: a proxy that compresses holds back what is small.
    let no_store = HeaderValue::from_static("no-store, no-transform");
    headers.insert(header::CACHE_CONTROL, no_store);
    // nginx would gather a few kilobytes first.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The page of the request's session. No use of the session, though it wakes one that sleeps.
pub(super) async fn open<P: Process>(
    live: &Live<P>,
    parts: &Parts,
    transport: Transport,
    resume: Option<&Resume>,
) -> Result<(Page, Open), Refusal> {
    let shared = &live.shared;
    if shared.pages.is_closing() {
        return Err(Refusal::NotNow);
    }
    let slot = Slot::of(parts).map_err(Refusal::NoLayer)?;
    let id = slot.current().await.map_err(Refusal::Error)?;
    let id = id.ok_or(Refusal::NoSession)?;
    let (hub, open) = loop {
        let hub = shared.pages.hub(&id, shared.number, &shared.limits);
        let observed = hub.ready.get_or_try_init(|| observe(live, &hub)).await;
        if let Err(error) = observed {
            return Err(match error.status() {
                StatusCode::UNAUTHORIZED => {
                    slot.lost(&id);
                    Refusal::NoSession
                }
                _ => Refusal::Error(error),
            });
        }
        match hub.end() {
            None => {}
            Some(End::ViewFailed) => return Err(Refusal::ViewFailed),
            Some(End::Closing) => return Err(Refusal::NotNow),
            Some(_) => return Err(Refusal::NoSession),
        }
        match shared.pages.enter(&hub, &shared.limits) {
            Ok(open) => break (hub, open),
            Err(Refused::Lapsed) => {}
            Err(refused) => {
                if let Some(limit) = refused.limit() {
                    shared.sessions.page_refused(limit);
                }
                return Err(match refused {
                    Refused::Session | Refused::User => Refusal::TooMany,
                    _ => Refusal::NotNow,
                });
            }
        }
    };
    let monitor = shared.sessions.monitor(&id).map_err(|_| Refusal::NoSession)?;
    let page = Page::new(Arc::clone(shared), hub, monitor, transport, resume);
    Ok((page, open))
}

async fn observe<P: Process>(live: &Live<P>, hub: &Arc<Hub>) -> Result<(), Error> {
    let watch = Watch {
        view: Arc::clone(&live.view),
        hub: Arc::clone(hub),
        pages: live.shared.pages.clone(),
        staged: None,
    };
    live.sessions.observe(&hub.id, watch).await?;
    let follower: Arc<dyn Follower> = Arc::clone(hub) as Arc<dyn Follower>;
    live.sessions
        .follow(&hub.id, Arc::downgrade(&follower))
        .map_err(|gone| {
            hub.close(End::Rotated);
            Error::NotStarted { id: gone.id }
        })
}

impl IntoResponse for Refusal {
    /// In one form with what is wrong with a frame: `{"error": {"code", "message"}}`. Not so a layer that is missing, which
    /// is a mistake in the application.
    fn into_response(self) -> Response {
        let (soon, later) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(30)));
        let (status, code, message, retry_after) = match self {
            Self::Origin => (StatusCode::FORBIDDEN, "origin", "this page is of another site", None),
            Self::NoSession => (StatusCode::UNAUTHORIZED, "no_session", "there is no session", None),
            Self::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many",
                "too many pages are open",
                later,
            ),
            Self::NotNow => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not_now",
                "try again in a moment",
                soon,
            ),
            Self::ViewFailed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the server made a mistake",
                None,
            ),
            Self::NoLayer(missing) => return missing.into_response(),
            Self::Error(error) => {
                let (code, message) = words(error.status());
                // It logs itself, and knows when to come back.
                let (parts, _) = error.into_response().into_parts();
                let mut response = (parts.status, wrong(code, message)).into_response();
                if let Some(after) = parts.headers.get(header::RETRY_AFTER) {
                    response.headers_mut().insert(header::RETRY_AFTER, after.clone());
                }
                return response;
            }
        };
        let mut response = (status, wrong(code, message)).into_response();
        if let Some(after) = retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

fn wrong(code: &str, message: &str) -> Json<serde_json::Value> {
    Json(json!({ "error": { "code": code, "message": message } }))
}
