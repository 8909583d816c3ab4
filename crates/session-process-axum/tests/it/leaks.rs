//! The id is a password: it leaves in `Set-Cookie` and nowhere else.

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{
    extract::Request,
    middleware::{self, Next},
};
use session_process_axum::SessionLayer;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Answer, Client, builder, post_with_cookie_header, routes};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What a layer further in would log: everything there is.
async fn log_all(request: Request, next: Next) -> axum::response::Response {
    tracing::trace!(?request, "request");
    let response = next.run(request).await;
    tracing::trace!(?response, "response");
    response
}

#[tokio::test]
async fn no_id_is_in_a_log_or_a_body() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let call_timeout = std::time::Duration::from_millis(50);
    let sessions = builder().max_sessions(2).call_timeout(call_timeout).build().unwrap();
    let app = routes()
        .layer(middleware::from_fn(log_all))
        .layer(SessionLayer::new(sessions.clone()))
        .layer(middleware::from_fn(|request, next: Next| async move {
            let response: axum::response::Response = next.run(request).await;
            tracing::trace!(headers = ?response.headers(), "set");
            response
        }));
    let mut secrets = Vec::new();
    let mut answers: Vec<Answer> = Vec::new();

    let mut client = Client::new(&app);
    for path in [
        "/add/1",
        "/login",
        "/fail",
        "/hang",
        "/room/blue",
        "/touch",
        "/logout",
        "/add/1",
    ] {
        answers.push(client.post(path).await);
        if client.cookie.is_some() {
            secrets.push(client.id().expose().to_owned());
        }
    }
    answers.push(client.get("/id").await);
    answers.push(Client::new(&app).post("/add/1").await);
    answers.push(Client::new(&app).post("/add/1").await);
    for (cookie, value) in [
        ("__Host-id=made-up-but-well-formed", "made-up-but-well-formed"),
        ("__Host-id=not well formed", "not well formed"),
        ("__Host-id=once; __Host-id=and-once-more", "and-once-more"),
    ] {
        answers.push(post_with_cookie_header(&app, "/touch", &[cookie.as_bytes()]).await);
        secrets.push(value.to_owned());
    }

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for expected in [
        "session started",
        "malformed",
        "ambiguous",
        "unknown",
        "request",
        "response",
    ] {
        assert!(log.contains(expected), "the log was captured: {expected}");
    }
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} was logged");
        assert!(answers.iter().all(|answer| !answer.body.contains(&secret)));
    }
}

#[tokio::test]
async fn plain_http_is_warned_of_once() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let layer = SessionLayer::new(builder().build().unwrap())
        .with_insecure_cookies()
        .unwrap();
    let app = routes().layer(layer);
    Client::new(&app).post("/add/1").await;
    Client::new(&app).post("/add/1").await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("without `Secure`").count(), 1);
}
