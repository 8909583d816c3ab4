//! The WebSocket of a page. One frame a message, as text; subprotocol [`PROTOCOL`].
//!
//! A page can't see the status of an upgrade that is refused, so whoever passes the check of its origin is let in, and
//! told by the code with which the socket is closed.

use std::{future::poll_fn, time::Duration};

use axum::extract::{
    FromRequestParts,
    ws::{CloseFrame, Message as Text, Utf8Bytes, WebSocket, WebSocketUpgrade},
};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use session_process::{EndReason, Process};
use tokio::time::{Instant, timeout};

use super::{
    Live,
    connect::{Refusal, open},
    frame::{Frame, Up},
    hub::End,
    limits::MAX_FRAME,
    page::{Page, Transport},
    sends::answer,
};

pub(super) const PROTOCOL: &str = "session-process.live.v1";

/// A page says where it was before anything else; one that is slow with it gets the whole state.
const RESUME_WITHIN: Duration = Duration::from_secs(2);

/// The other side of a socket that is closed has this long to close it too.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Codes of a close: those of RFC 6455, and ours.
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const UNREADABLE: u16 = 1002;
    pub(super) const TOO_LARGE: u16 = 1009;
    pub(super) const ERROR: u16 = 1011;
    pub(super) const RESTART: u16 = 1012;
    pub(super) const LATER: u16 = 1013;
    pub(super) const MALFORMED: u16 = 4400;
    pub(super) const NO_SESSION: u16 = 4401;
    pub(super) const PROTOCOL: u16 = 4406;
    pub(super) const SILENT: u16 = 4408;
    pub(super) const MOVED: u16 = 4410;
    pub(super) const TOO_MANY: u16 = 4429;
}

pub(super) async fn connect<P: Process>(live: Live<P>, mut parts: Parts) -> Response {
    // First: a page of another site is told nothing of the session.
    if !live.shared.origins.allow_socket(&parts.headers) {
        return Refusal::Origin.into_response();
    }
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    // Here and not in the task: what the layer has to say to the browser leaves with this response.
    let opened = open(&live, &parts, Transport::WebSocket, None).await;
    if let Err(Refusal::NoLayer(missing)) = opened {
        return missing.into_response();
    }
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * 1024 * 1024)
        .on_upgrade(move |socket| async move {
            let mut socket = Socket {
                timeout: live.shared.limits.write_timeout,
                socket,
            };
            let code = if socket.socket.protocol().is_none() {
                code::PROTOCOL
            } else {
                match opened {
                    Ok((mut page, _open)) => match talk(&live, &mut socket, &mut page).await {
                        Ok(code) => {
                            if let Some(reason) = reason(code) {
                                page.closes_for(reason);
                            }
                            code
                        }
                        // Whoever takes nothing is not told that it is over.
                        Err(Gone::Stuck) => return page.closes_for("stuck"),
                        Err(Gone::Closed) => return,
                    },
                    Err(refusal) => refused(&refusal),
                }
            };
            socket.close(code).await;
        })
}

fn refused(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::NoSession | Refusal::Origin => code::NO_SESSION,
        Refusal::TooMany => code::TOO_MANY,
        Refusal::NotNow => code::RESTART,
        Refusal::Error(error) if error.retry_after().is_some() => code::LATER,
        _ => code::ERROR,
    }
}

struct Socket {
    socket: WebSocket,
    timeout: Duration,
}

enum Gone {
    /// It takes nothing.
    Stuck,
    Closed,
}

impl Socket {
    async fn send(&mut self, frame: &Frame) -> Result<(), Gone> {
        let text = Utf8Bytes::try_from(frame.json()).map_err(|_| Gone::Closed)?;
        self.write(Text::Text(text)).await
    }

    async fn write(&mut self, message: Text) -> Result<(), Gone> {
        match timeout(self.timeout, self.socket.send(message)).await {
            Ok(sent) => sent.map_err(|_| Gone::Closed),
            Err(_) => Err(Gone::Stuck),
        }
    }

    async fn close(&mut self, code: u16) {
        let reason = Utf8Bytes::from_static("");
        // The other side closes too, or is cut off. What it still sends is not looked at.
        let _ = timeout(CLOSE_WITHIN, async {
            let _ = self.socket.send(Text::Close(Some(CloseFrame { code, reason }))).await;
            while let Some(Ok(_)) = self.socket.recv().await {}
        })
        .await;
    }
}

/// Frames in both directions, to the end; returns the code of that.
async fn talk<P: Process>(live: &Live<P>, socket: &mut Socket, page: &mut Page) -> Result<u16, Gone> {
    let limits = &live.shared.limits;
    let id = page.hub().id.clone();
    let mut heard = Instant::now();
    let mut first = None;
    // A page that says at once that it is somewhere goes on there.
    match timeout(RESUME_WITHIN, socket.socket.recv()).await {
        Ok(Some(Ok(Text::Text(text)))) => match serde_json::from_str(&text) {
            Ok(Up::Resume(resume)) => page.resume(&resume),
            Ok(other) => first = Some(other),
            Err(_) => return Ok(code::MALFORMED),
        },
        Ok(Some(Ok(Text::Binary(_)))) => return Ok(code::MALFORMED),
        Ok(Some(Ok(_))) | Err(_) => {}
        Ok(Some(Err(error))) => return Ok(unreadable(&error)),
        Ok(None) => return Err(Gone::Closed),
    }
    let mut sending = std::pin::pin!(None);
    loop {
        if let Some(up) = first.take() {
            if !live.admits_frame(&id) {
                return Ok(code::TOO_MANY);
            }
            match up {
                Up::Send(sent) => {
                    let on_send = live.on_send.clone();
                    let caller = live.caller(&id);
                    sending.set(Some(async move { answer(on_send.as_deref(), caller, sent).await.1 }));
                }
                Up::Active => live.active(&id),
                Up::Pong | Up::Resume(_) => {}
            }
        }
        let is_sending = sending.is_some();
        let silent = heard + limits.heartbeat * 5 / 2;
        tokio::select! {
            frame = poll_fn(|cx| page.poll(cx)) => {
                let Some(frame) = frame else { return Ok(after(page.end())) };
                let beats = frame.is_ping();
                socket.send(&frame).await?;
                // Browsers answer this by themselves, whatever their page is busy with.
                if beats {
                    socket.write(Text::Ping(bytes::Bytes::new())).await?;
                }
            }
            // One at a time, and meanwhile nothing is read: what comes waits on its way.
            answer = async { sending.as_mut().as_pin_mut().expect("asked before").await }, if is_sending => {
                sending.set(None);
                let answer = Frame::answer(&answer);
                live.sessions.page_told(answer.kind(), 0, 0);
                socket.send(&answer).await?;
            }
            message = socket.socket.recv(), if !is_sending => {
                heard = Instant::now();
                match message {
                    Some(Ok(Text::Text(text))) => match serde_json::from_str(&text) {
                        Ok(up) => first = Some(up),
                        Err(_) => return Ok(code::MALFORMED),
                    },
                    Some(Ok(Text::Binary(_))) => return Ok(code::MALFORMED),
                    Some(Ok(Text::Ping(_) | Text::Pong(_))) => {}
                    Some(Ok(Text::Close(_))) => return Ok(code::NORMAL),
                    None => return Err(Gone::Closed),
                    Some(Err(error)) => return Ok(unreadable(&error)),
                }
            }
            () = tokio::time::sleep_until(silent), if !is_sending => return Ok(code::SILENT),
        }
    }
}

fn unreadable(error: &axum::Error) -> u16 {
    let too_large = std::error::Error::source(error).is_some_and(|source| source.to_string().contains("too long"));
    // Otherwise it is no WebSocket any more, or the connection is lost.
    if too_large { code::TOO_LARGE } else { code::UNREADABLE }
}

/// Why the page is closed, where it doesn't know that itself, in a word for events.
fn reason(code: u16) -> Option<&'static str> {
    match code {
        code::SILENT => Some("silent"),
        code::MALFORMED | code::TOO_LARGE | code::TOO_MANY => Some("refused"),
        _ => None,
    }
}

/// The code after the last frame.
fn after(end: Option<End>) -> u16 {
    match end {
        Some(End::Closing | End::Session(EndReason::Shutdown)) => code::RESTART,
        Some(End::Rotated | End::Session(EndReason::Asleep)) => code::MOVED,
        Some(End::ViewFailed | End::Session(EndReason::Crashed)) => code::ERROR,
        Some(End::Session(_)) | None => code::NO_SESSION,
    }
}
