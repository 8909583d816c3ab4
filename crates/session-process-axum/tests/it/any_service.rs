//! Under any tower service: no axum, a body that is text.

use std::convert::Infallible;

use http::{Request, Response, StatusCode, header};
use session_process::Sessions;
use session_process_axum::{CrossSiteRequest, Error, MissingSessionLayer, Session, SessionLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::support::{Add, Counter, builder};

/// What a service without axum's extractors does.
async fn count(request: Request<String>) -> Result<Response<String>, Infallible> {
    let (parts, body) = request.into_parts();
    let session = match Session::<Counter>::from_parts(&parts) {
        Ok(session) => session,
        Err(missing) => return Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, &missing.to_string())),
    };
    Ok(match session.call(Add(body.parse().unwrap_or_default())).await {
        Ok(total) => Response::new(total.to_string()),
        Err(error) => answer(error.status(), error.body_text()),
    })
}

fn answer(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    response
}

fn layered(
    sessions: &Sessions<Counter>,
) -> impl Service<Request<String>, Response = Response<String>, Error = Infallible> + Clone + use<> {
    ServiceBuilder::new()
        .layer(SessionLayer::new(sessions.clone()))
        .service(service_fn(count))
}

#[tokio::test]
async fn a_service_without_axum_has_sessions() {
    let sessions = builder().build().unwrap();
    let service = layered(&sessions);
    let first = service.clone().oneshot(Request::new("2".to_owned())).await.unwrap();
    assert_eq!(first.body(), "2");
    let cookie = first.headers()[header::SET_COOKIE].to_str().unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let second = Request::builder().header(header::COOKIE, cookie).body("3".to_owned());
    let second = service.oneshot(second.unwrap()).await.unwrap();
    assert_eq!(second.body(), "5");
    assert_eq!(second.headers()[header::CACHE_CONTROL], "no-store");
    assert!(!second.headers().contains_key(header::SET_COOKIE));
    assert_eq!(sessions.stats().sessions, 1);
}

#[tokio::test]
async fn an_error_has_a_status_and_a_text_there_too() {
    let sessions = builder().max_sessions(1).build().unwrap();
    let service = layered(&sessions);
    service.clone().oneshot(Request::new(String::new())).await.unwrap();
    let full = service.oneshot(Request::new(String::new())).await.unwrap();
    assert_eq!(
        (full.status().as_u16(), full.body().as_str()),
        (503, "too many sessions")
    );
    let error = Error::SessionLimit { max: 1 };
    assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(1)));
}

#[tokio::test]
async fn a_missing_layer_is_named_at_the_first_request() {
    let response = service_fn(count).oneshot(Request::new(String::new())).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(*response.body(), MissingSessionLayer::default().to_string());
    assert!(response.body().contains("session_process_axum::SessionLayer"));
}

#[tokio::test]
async fn a_request_of_another_site_is_refused_before_the_service() {
    let service = layered(&builder().build().unwrap());
    let request = Request::post("/")
        .header("sec-fetch-site", "cross-site")
        .body(String::new());
    let response = service.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(response.extensions().get::<CrossSiteRequest>().is_some());
}
