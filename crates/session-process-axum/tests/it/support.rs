//! An application with a counter for each session, and a client with a jar.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Path,
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use session_process::{Builder, Context, Handle, ManualClock, Process, SessionId, Sessions};
use session_process_axum::{CurrentId, Error, Session, SessionLayer};
use tower::ServiceExt;

#[derive(Default)]
pub(crate) struct Counter {
    pub(crate) total: u64,
}

impl Process for Counter {}

pub(crate) struct Add(pub(crate) u64);
impl Handle<Add> for Counter {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.total += n;
        self.total
    }
}

pub(crate) struct Fail;
impl Handle<Fail> for Counter {
    type Reply = ();
    async fn handle(&mut self, _: Fail, _: &mut Context<Self>) {
        panic!("asked to");
    }
}

/// Never replies.
pub(crate) struct Hang;
impl Handle<Hang> for Counter {
    type Reply = ();
    async fn handle(&mut self, _: Hang, _: &mut Context<Self>) {
        std::future::pending().await
    }
}

/// Another type of process, which starts with an argument.
pub(crate) struct Room(String);
impl Process for Room {}

impl session_process::Init<String> for Room {
    async fn init(name: String, _: &mut Context<Self>) -> Result<Self, session_process::InitError> {
        if name == "bad" {
            Err("no such room".into())
        } else {
            Ok(Self(name))
        }
    }
}

pub(crate) struct Name;
impl Handle<Name> for Room {
    type Reply = String;
    async fn handle(&mut self, _: Name, _: &mut Context<Self>) -> String {
        self.0.clone()
    }
}

pub(crate) fn builder() -> Builder<Counter> {
    Sessions::<Counter>::builder()
}

pub(crate) fn timed() -> (Sessions<Counter>, ManualClock) {
    let clock = ManualClock::new();
    let sessions = builder()
        .idle_timeout(Duration::from_secs(60))
        .max_lifetime(Duration::from_secs(600))
        .clock(clock.clone())
        .build()
        .unwrap();
    (sessions, clock)
}

async fn login(session: Session<Counter>) -> Result<String, Error> {
    session.rotate().await?;
    Ok(session.call(Add(0)).await?.to_string())
}

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/untouched", get(|_: Session<Counter>| async { "hello" }))
        .route("/static", get(|| async { "hello" }))
        .route(
            "/add/{n}",
            post(|session: Session<Counter>, Path(n): Path<u64>| async move {
                session.call(Add(n)).await.map(|total| total.to_string())
            }),
        )
        .route(
            "/cast/{n}",
            post(|session: Session<Counter>, Path(n): Path<u64>| async move { session.cast(Add(n)).await }),
        )
        .route(
            "/look",
            get(|session: Session<Counter>| async move {
                let total = session.call_if_started(Add(0)).await?;
                Ok::<_, Error>(total.map_or("none".to_owned(), |total| total.to_string()))
            }),
        )
        .route(
            "/optional",
            get(|session: Option<Session<Counter>>| async move {
                match session {
                    Some(session) => session.call(Add(0)).await.map(|total| total.to_string()),
                    None => Ok("none".to_owned()),
                }
            }),
        )
        .route("/id", get(|CurrentId(id): CurrentId| async move { id.to_string() }))
        .route("/login", post(login))
        .route(
            "/logout",
            post(|session: Session<Counter>| async move { session.end().await.map(|ended| ended.to_string()) }),
        )
        .route(
            "/touch",
            post(|session: Session<Counter>| async move { session.touch().await.map(|touched| touched.to_string()) }),
        )
        .route(
            "/fail",
            post(|session: Session<Counter>| async move { session.call(Fail).await }),
        )
        .route(
            "/hang",
            post(|session: Session<Counter>| async move { session.call_within(Hang, Duration::from_millis(1)).await }),
        )
        .route(
            "/room/{name}",
            post(|session: Session<Room>, Path(name): Path<String>| async move {
                session.start_with(name).await?;
                Ok::<_, Error>(session.call_if_started(Name).await?.unwrap_or_default())
            }),
        )
}

pub(crate) fn app(sessions: &Sessions<Counter>) -> Router {
    routes().layer(SessionLayer::new(sessions.clone()))
}

/// A browser, as far as it concerns us.
pub(crate) struct Client {
    app: Router,
    pub(crate) cookie: Option<String>,
}

impl Client {
    pub(crate) fn new(app: &Router) -> Self {
        Self {
            app: app.clone(),
            cookie: None,
        }
    }

    pub(crate) fn with_id(app: &Router, id: &SessionId) -> Self {
        Self {
            app: app.clone(),
            cookie: Some(format!("__Host-id={}", id.expose())),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path).await
    }

    pub(crate) async fn post(&mut self, path: &str) -> Answer {
        self.send("POST", path).await
    }

    async fn send(&mut self, method: &str, path: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let answer = send(&self.app, request.body(Body::empty()).unwrap()).await;
        if let Some(set) = answer.set_cookie() {
            let (pair, _) = set.split_once(';').unwrap();
            self.cookie = (!set.contains("Max-Age=0")).then(|| pair.to_owned());
        }
        answer
    }

    /// The id in the jar.
    pub(crate) fn id(&self) -> SessionId {
        let cookie = self.cookie.as_deref().expect("there is a cookie");
        cookie.split_once('=').unwrap().1.parse().unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn set_cookie(&self) -> Option<&str> {
        let mut all = self.headers.get_all(header::SET_COOKIE).iter();
        let first = all.next().map(|value| value.to_str().unwrap());
        assert!(all.next().is_none(), "one cookie at most");
        first
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) async fn send<S>(app: &S, request: Request<Body>) -> Answer
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) async fn post_with_cookie_header(app: &Router, path: &str, cookies: &[&[u8]]) -> Answer {
    let mut request = Request::post(path).body(Body::empty()).unwrap();
    for cookie in cookies {
        let value = HeaderValue::from_bytes(cookie).unwrap();
        request.headers_mut().append(header::COOKIE, value);
    }
    send(app, request).await
}

/// A request that names this session in every place that an id could be looked for, except the one where it belongs.
pub(crate) fn with_the_id_everywhere_but_in_the_cookie(id: &SessionId) -> Request<Body> {
    let text = id.expose();
    Request::post(format!("/touch?__Host-id={text}&id={text}&session={text}"))
        .header("__Host-id", text)
        .header("id", text)
        .header("x-session-id", text)
        .header(header::AUTHORIZATION, format!("Bearer {text}"))
        .header(header::SET_COOKIE, format!("__Host-id={text}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("__Host-id={text}")))
        .unwrap()
}
