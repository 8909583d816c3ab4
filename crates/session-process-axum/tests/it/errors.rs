//! Errors as they reach the client.

use std::time::Duration;

use http::header;
use session_process_axum::SessionLayer;

use crate::support::{Client, app, builder, routes};

#[tokio::test]
async fn too_many_sessions_are_503_and_old_ones_go_on() {
    let app = app(&builder().max_sessions(1).build().unwrap());
    let mut first = Client::new(&app);
    first.post("/add/1").await;

    let answer = Client::new(&app).post("/add/1").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (503, "too many sessions")
    );
    assert_eq!(answer.header(header::RETRY_AFTER), Some("1"));
    assert_eq!(answer.set_cookie(), None);
    assert_eq!(first.post("/add/1").await.body, "2");
}

#[tokio::test]
async fn too_many_starts_are_503() {
    let app = app(&builder().rate_limit(1).build().unwrap());
    Client::new(&app).post("/add/1").await;
    let answer = Client::new(&app).post("/add/1").await;
    assert_eq!(answer.status, 503);
    let after: u64 = answer.header(header::RETRY_AFTER).unwrap().parse().unwrap();
    assert!((1..=60).contains(&after));
}

#[tokio::test]
async fn too_many_starts_for_one_key_are_429_for_that_key() {
    let sessions = builder().rate_limit_per_key(1).build().unwrap();
    let key = |parts: &http::request::Parts| Some(parts.uri.query()?.to_owned());
    let app = routes().layer(SessionLayer::new(sessions).with_start_key(key));

    let mut first = Client::new(&app);
    assert_eq!(first.post("/add/1?a").await.status, 200);
    let answer = Client::new(&app).post("/add/1?a").await;
    assert_eq!(answer.status, 429);
    assert!(answer.header(header::RETRY_AFTER).is_some());
    assert_eq!(first.post("/add/1?a").await.status, 200, "no start, no limit");
    assert_eq!(Client::new(&app).post("/add/1?b").await.status, 200);
    assert_eq!(Client::new(&app).post("/add/1").await.status, 200, "no key, no limit");
}

#[tokio::test]
async fn a_panic_is_500_and_a_hanging_handler_504() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    let answer = client.post("/fail").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (500, "internal error"));
    assert_eq!(client.post("/hang").await.status, 504);
}

#[tokio::test]
async fn a_full_mailbox_is_503() {
    let sessions = builder().mailbox_capacity(1).build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/hang").await;
    assert_eq!(client.post("/cast/1").await.status, 200);
    let answer = client.post("/cast/1").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header(header::RETRY_AFTER), Some("1"));
}

#[tokio::test]
async fn a_session_of_another_type_is_500() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    assert_eq!(client.post("/room/blue").await.status, 500);
}

#[tokio::test]
async fn a_shutdown_is_503() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let report = sessions.shutdown(Duration::from_secs(1)).await;
    assert_eq!(report.ended, 1);
    assert_eq!(client.post("/add/1").await.status, 503);
    assert_eq!(Client::new(&app).post("/add/1").await.status, 503);
}
