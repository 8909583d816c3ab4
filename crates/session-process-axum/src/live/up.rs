//! `POST`: a page sends a frame.

use axum::{
    Json,
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use session_process::{Process, SessionId};

use super::{
    Live,
    connect::Refusal,
    frame::{Answer, Up, Wrong},
    limits::MAX_FRAME,
    sends::{Caller, answer},
};
use crate::slot::Slot;

pub(super) async fn up<P: Process>(State(live): State<Live<P>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !live.shared.origins.allow_request(&parts.headers) {
        return Refusal::Origin.into_response();
    }
    // A form of another site can't say so without being asked first (CORS).
    if !is_json(&parts.headers) {
        return wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", "frames are JSON");
    }
    let Ok(body) = to_bytes(body, MAX_FRAME).await else {
        return wrong(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a frame has 64 KiB at most");
    };
    let slot = match Slot::of(&parts) {
        Ok(slot) => slot,
        Err(missing) => return Refusal::NoLayer(missing).into_response(),
    };
    let id = match slot.current().await {
        Ok(Some(id)) => id,
        Ok(None) => return Refusal::NoSession.into_response(),
        Err(error) => return Refusal::Error(error).into_response(),
    };
    if !live.admits_frame(&id) {
        let mut response = wrong(StatusCode::TOO_MANY_REQUESTS, "too_fast", "fewer frames, please");
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
        return response;
    }
    match serde_json::from_slice(&body) {
        Ok(Up::Send(sent)) => {
            let (status, answer) = answer(live.on_send.as_deref(), live.caller(&id), sent).await;
            (status, Json(answer)).into_response()
        }
        Ok(Up::Active) => {
            live.active(&id);
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(Up::Pong | Up::Resume(_)) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => wrong(StatusCode::BAD_REQUEST, "malformed", "that is no frame"),
    }
}

impl<P: Process> Live<P> {
    pub(super) fn caller(&self, id: &SessionId) -> Caller<P> {
        Caller {
            sessions: self.sessions.clone(),
            id: id.clone(),
        }
    }

    /// Whether a session's pages may send one more frame now.
    pub(super) fn admits_frame(&self, id: &SessionId) -> bool {
        let admitted = self.shared.pages.admit_frame(id, &self.shared.limits);
        if !admitted {
            self.sessions.page_refused("frames");
        }
        admitted
    }

    /// Somebody is there: a use of the session, now and then.
    pub(super) fn active(&self, id: &SessionId) {
        if self.shared.pages.admit_active(id, &self.shared.limits) {
            // An error: it has ended, or it sleeps, which a page that is open keeps it from.
            let _ = self.sessions.touch(id);
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn wrong(status: StatusCode, code: &str, message: &str) -> Response {
    let (code, message) = (code.to_owned(), message.to_owned());
    (status, Json(Answer::new(0, Err(Wrong { code, message })))).into_response()
}
