//! [`Page`]: one open page, whatever carries its frames.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use session_process::{EndReason, Expiry, Monitor};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Shared,
    frame::{Frame, Resume},
    hub::{End, Hub, Next, Seat, last_frame},
};

const SECOND: Duration = Duration::from_secs(1);

/// What carries a page's frames, and what it is called in events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    Sse,
    WebSocket,
}

impl Transport {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
        }
    }
}

pub(super) struct Page {
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    seat: Seat,
    /// So that the process knows its pages. And it knows more of a session that was cut off.
    monitor: Monitor,
    timer: Pin<Box<Sleep>>,
    ping_at: Instant,
    /// When to look how much time the session has.
    look_at: Instant,
    /// A view that is newer than this one waits until then.
    pace_until: Option<Instant>,
    /// The end of its session that the page was warned of, counted from the start of that; `None`: not warned.
    warned: Option<Duration>,
    /// Until it is told.
    hello: Option<Frame>,
    over: bool,
    transport: Transport,
    /// Whether it was away, and goes on where it was.
    resume: &'static str,
    /// When it was greeted.
    since: Instant,
    /// Why it is closed.
    reason: &'static str,
    /// By when whoever carries its frames asks for the next one, unless they are held up.
    due: Instant,
}

impl Page {
    pub(super) fn new(
        shared: Arc<Shared>,
        hub: Arc<Hub>,
        monitor: Monitor,
        transport: Transport,
        resume: Option<&Resume>,
    ) -> Self {
        let (seat, resumed) = hub.sit(resume);
        let heartbeat = shared.limits.heartbeat;
        let now = Instant::now();
        let mut page = Self {
            hello: Some(hub.hello(resumed, heartbeat)),
            hub,
            seat,
            monitor,
            timer: Box::pin(sleep_until(now)),
            ping_at: now + heartbeat,
            look_at: now,
            pace_until: None,
            warned: None,
            over: false,
            transport,
            resume: outcome(resume, resumed),
            since: now,
            reason: "left",
            due: now,
            shared,
        };
        page.set_timer();
        page
    }

    /// The page says where it was, before it was told anything.
    pub(super) fn resume(&mut self, resume: &Resume) {
        if self.hello.is_none() {
            return;
        }
        self.hub.rise(&self.seat);
        let (seat, resumed) = self.hub.sit(Some(resume));
        self.seat = seat;
        self.resume = outcome(Some(resume), resumed);
        self.hello = Some(self.hub.hello(resumed, self.shared.limits.heartbeat));
    }

    /// The next frame; `None` after the last.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let next = self.poll_next(cx);
        match &next {
            Poll::Ready(frame) => {
                self.due = Instant::now();
                if let Some(frame) = frame {
                    let missed = self.seat.take_missed();
                    let sessions = &self.shared.sessions;
                    sessions.page_told(frame.kind(), missed.views.into(), missed.events.into());
                }
            }
            Poll::Pending => self.due = self.timer.deadline(),
        }
        next
    }

    /// Nobody has asked for a frame for as long as that, though there was one to ask for: whoever reads them takes
    /// nothing. A server asks for more as long as there is room in its buffers and the system's, so small frames are long
    /// taken for one who is stuck.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.due) >= self.shared.limits.write_timeout
    }

    /// Why it is closed, in a word for events.
    pub(super) fn closes_for(&mut self, reason: &'static str) {
        self.reason = reason;
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        if let Some(hello) = self.hello.take() {
            self.since = Instant::now();
            let (session, transport, resume) = (&self.hub.id, self.transport.as_str(), self.resume);
            self.shared.sessions.page_opened(session, transport, resume);
            return Poll::Ready(Some(hello));
        }
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            let now = Instant::now();
            let paced = self.pace_until.is_some_and(|until| now < until);
            if !paced {
                self.pace_until = None;
            }
            let before = self.seat.at();
            match self.hub.next(&mut self.seat, cx.waker(), paced) {
                Next::Frame(frame) => {
                    let caught_up = self.seat.at() != before && self.hub.is_at(&self.seat);
                    if caught_up && !self.shared.limits.min_interval.is_zero() {
                        self.pace_until = Some(now + self.shared.limits.min_interval);
                    }
                    return Poll::Ready(Some(frame));
                }
                Next::End(end) => {
                    self.over = true;
                    self.reason = reason(end);
                    return Poll::Ready(Some(last_frame(end, &self.monitor)));
                }
                Next::Later => self.wake_at(self.pace_until.unwrap_or(now)),
                Next::Nothing => self.set_timer(),
            }
            ready!(self.timer.as_mut().poll(cx));
            if let Some(frame) = self.tick() {
                return Poll::Ready(Some(frame));
            }
        }
    }

    /// The timer has rung.
    fn tick(&mut self) -> Option<Frame> {
        let now = Instant::now();
        if now >= self.look_at
            && let Some(frame) = self.look(now)
        {
            return Some(frame);
        }
        if now >= self.ping_at {
            self.ping_at = now + self.shared.limits.heartbeat;
            return Some(Frame::ping());
        }
        None
    }

    /// Looks how much time the session has. No use of it.
    fn look(&mut self, now: Instant) -> Option<Frame> {
        let limits = &self.shared.limits;
        let Ok(stats) = self.shared.sessions.session_stats(&self.hub.id) else {
            // It has just expired or ended, and the page is told that in a moment. Not that it has time again.
            self.look_at = now + limits.heartbeat.max(SECOND);
            return None;
        };
        let left = stats.expires_in;
        let kind = match stats.expires_by {
            Some(Expiry::Absolute) => "absolute",
            _ => "idle",
        };
        // Use puts it off, so it is looked at again in any case.
        let again = left.map_or(limits.heartbeat, |left| left.saturating_sub(limits.warning));
        self.look_at = now + again.clamp(SECOND, limits.heartbeat.max(SECOND));
        let Some(left) = left.filter(|left| *left <= limits.warning) else {
            return self.warned.take().map(|_| Frame::expiring(None, kind));
        };
        // On the session's own clock, so it stays the same until somebody uses the session or sets its limits; or until it is
        // past, which a session is that is at work.
        let end = stats.age + left;
        let is_told = |told: Duration| left.is_zero() || told.abs_diff(end) < SECOND;
        if self.warned.is_some_and(is_told) {
            return None;
        }
        self.warned = Some(end);
        Some(Frame::expiring(Some(left), kind))
    }

    fn set_timer(&mut self) {
        self.wake_at(self.ping_at.min(self.look_at));
    }

    fn wake_at(&mut self, at: Instant) {
        let at = at.min(self.ping_at).min(self.look_at);
        if self.timer.deadline() != at || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
    }

    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn end(&self) -> Option<End> {
        self.hub.end()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.hub.rise(&self.seat);
        if self.hello.is_none() {
            let (session, transport, reason) = (&self.hub.id, self.transport.as_str(), self.reason);
            let sessions = &self.shared.sessions;
            sessions.page_closed(session, transport, reason, self.since.elapsed());
        }
    }
}

fn outcome(resume: Option<&Resume>, resumed: bool) -> &'static str {
    match resume {
        _ if resumed => "resumed",
        Some(Resume { epoch: Some(_), .. }) => "whole",
        _ => "none",
    }
}

fn reason(end: End) -> &'static str {
    match end {
        End::Closing | End::Session(EndReason::Shutdown) => "shutdown",
        End::Rotated | End::Session(EndReason::Asleep) => "moved",
        End::ViewFailed | End::Session(EndReason::Crashed) => "failed",
        End::Session(_) => "ended",
    }
}
