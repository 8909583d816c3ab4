//! Live pages, driven as a service: time is tokio's, paused, and the engine's, by hand.

mod limits;
#[cfg(target_os = "linux")]
mod many;
mod metrics;
mod nodes;
mod page;
mod parity;
mod proxy;
mod renewal;
mod resume;
mod script;
mod security;
mod sends;
mod socket;
mod store;
mod stuck;
mod styles;

use std::time::Duration;

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use session_process::{ManualClock, SessionId, Sessions};
use session_process_axum::{
    SessionLayer,
    live::{Caller, Live, Message, SendError},
};
use tower::ServiceExt;

use crate::support::{Add, Client, Counter, routes, timed};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The application of the other tests, with live pages of its counter.
pub(crate) struct Site {
    pub(crate) sessions: Sessions<Counter>,
    pub(crate) clock: ManualClock,
    pub(crate) live: Live<Counter>,
    pub(crate) app: Router,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|live| live)
    }

    pub(crate) fn with(configure: impl FnOnce(Live<Counter>) -> Live<Counter>) -> Self {
        let (sessions, clock) = timed();
        let live = Live::new(&sessions, |counter: &Counter| json!({ "total": counter.total }));
        // Sessions of these tests idle out after a minute.
        let live = live.with_min_interval(Duration::ZERO).with_warning(SECOND * 20);
        let live = configure(live.with_sends(sends));
        let app = routes()
            .merge(live.routes("/live"))
            .layer(SessionLayer::new(sessions.clone()));
        Self {
            sessions,
            clock,
            live,
            app,
        }
    }

    /// A browser with a session.
    pub(crate) async fn visitor(&self) -> Client {
        let mut client = Client::new(&self.app);
        client.post("/add/1").await;
        client
    }

    pub(crate) async fn open(&self, client: &Client) -> Page {
        Page::open(&self.app, client).await
    }
}

async fn sends(caller: Caller<Counter>, message: Message) -> Result<u64, SendError> {
    match message.name() {
        "add" => Ok(caller.call(Add(message.data()?)).await?),
        "fail" => {
            caller.call(crate::support::Fail).await?;
            Ok(0)
        }
        _ => Err(SendError::unknown()),
    }
}

pub(crate) fn request(client: &Client, more: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get("/live").header(header::HOST, "shop.example");
    if let Some(cookie) = &client.cookie {
        request = request.header(header::COOKIE, cookie);
    }
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// An open page, by server-sent events.
pub(crate) struct Page {
    response: Response<Body>,
    rest: String,
    /// `id:` of the last event that had one.
    pub(crate) at: Option<String>,
}

impl Page {
    pub(crate) async fn open(app: &Router, client: &Client) -> Self {
        Self::from(app, request(client, &[])).await
    }

    /// As a page that was away.
    pub(crate) async fn back(app: &Router, client: &Client, at: &str) -> Self {
        Self::from(app, request(client, &[("last-event-id", at)])).await
    }

    pub(crate) async fn from(app: &Router, request: Request<Body>) -> Self {
        Self {
            response: app.clone().oneshot(request).await.unwrap(),
            rest: String::new(),
            at: None,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    /// The next frame of whatever kind; `None` at the end.
    pub(crate) async fn any(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let (mut data, mut kind) = (Value::Null, "");
                for line in event.lines() {
                    match line.split_once(": ").unwrap() {
                        ("event", name) => kind = name,
                        ("id", id) => self.at = Some(id.to_owned()),
                        ("data", json) => data = serde_json::from_str(json).unwrap(),
                        other => panic!("{other:?}"),
                    }
                }
                assert_eq!(data["t"], kind);
                self.rest = rest.to_owned();
                return Some(data);
            }
            let chunk = self.response.body_mut().frame().await?.unwrap();
            self.rest += std::str::from_utf8(chunk.data_ref().unwrap()).unwrap();
        }
    }

    /// The next frame but heartbeats.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match self.any().await {
                Some(frame) if frame["t"] == "ping" => {}
                other => return other,
            }
        }
    }

    /// The next frame, which is to be of this kind.
    pub(crate) async fn frame(&mut self, kind: &str) -> Value {
        let frame = self.next().await.expect("the stream goes on");
        assert_eq!(frame["t"], kind, "{frame}");
        frame
    }

    /// The greeting, and the state with it.
    pub(crate) async fn greeted(&mut self) -> Value {
        assert_eq!(self.status(), StatusCode::OK);
        self.frame("hello").await;
        self.frame("state").await["data"].clone()
    }

    /// All that is there already.
    pub(crate) async fn waiting(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(Duration::from_millis(1), self.any()).await {
            all.push(frame);
        }
        all
    }
}

pub(crate) async fn up(app: &Router, client: &Client, frame: &Value) -> (StatusCode, Value) {
    let body = frame.to_string();
    post(app, client, body.into_bytes(), &[("content-type", "application/json")]).await
}

pub(crate) async fn post(app: &Router, client: &Client, body: Vec<u8>, more: &[(&str, &str)]) -> (StatusCode, Value) {
    let mut request = Request::post("/live").header(header::HOST, "shop.example");
    if let Some(cookie) = &client.cookie {
        request = request.header(header::COOKIE, cookie);
    }
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let answer = crate::support::send(app, request.body(Body::from(body)).unwrap()).await;
    let json = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer.status, json)
}

pub(crate) fn total(of: u64) -> Value {
    json!({ "total": of })
}

pub(crate) fn id(text: &str) -> SessionId {
    text.parse().unwrap()
}
