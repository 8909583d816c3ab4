//! Lines 34 and 41: which requests are taken at all.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use axum::{Router, body::Body};
use http::{Method, Request, header};
use session_process::Event;
use session_process_axum::{CrossSiteRequest, SameSite, SessionLayer};
use tower::ServiceExt;

use super::Node;
use crate::{
    durable::Fickle,
    support::{Answer, Client, app, builder, routes, send},
};

async fn from(app: &Router, client: &Client, method: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri("/add/1");
    request = request.header(header::COOKIE, client.cookie.as_deref().unwrap());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(app, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn line_34_a_request_that_another_site_causes_and_that_may_change_something_is_403() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let mut events = sessions.events();
    for headers in [
        &[("sec-fetch-site", "cross-site")] as &[_],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("host", "shop.example")],
        &[
            ("origin", "https://shop.example.evil.example"),
            ("host", "shop.example"),
        ],
        &[("origin", "https://evil-shop.example"), ("host", "shop.example")],
        &[("origin", "https://shop.example:8443"), ("host", "shop.example")],
        &[("origin", "null"), ("host", "shop.example")],
        &[
            ("origin", "https://shop.example"),
            ("sec-fetch-site", "cross-site"),
            ("host", "shop.example"),
        ],
    ] {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = from(&app, &client, method.as_str(), headers).await;
            assert_eq!(answer.status, 403, "{method} {headers:?}");
            assert_eq!(answer.set_cookie(), None);
            let refused = events.find(|event| match event {
                Event::RequestRefused { reason } => Some(*reason),
                _ => None,
            });
            assert_eq!(refused.await, Some("cross_site"));
        }
    }
    assert_eq!(
        sessions.call(&client.id(), crate::support::Add(0)).await.unwrap(),
        1,
        "no handler ran"
    );
}

#[tokio::test]
async fn line_34_ones_own_pages_links_and_programs_without_a_browser_pass() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    for headers in [
        &[] as &[_],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://shop.example"), ("host", "shop.example")],
        &[("origin", "https://shop.example"), ("sec-fetch-site", "same-origin")],
    ] {
        let answer = from(&app, &client, "POST", headers).await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }
    let link = Request::get("/look")
        .header(header::COOKIE, client.cookie.unwrap())
        .header("sec-fetch-site", "cross-site")
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(&app, link).await.body, "6");
}

#[tokio::test]
async fn line_34_an_origin_can_be_trusted_and_the_check_be_left_to_others() {
    let layer = || SessionLayer::new(builder().build().unwrap());
    let other = [("origin", "https://id.example"), ("sec-fetch-site", "cross-site")];
    let evil = [
        ("origin", "https://id.example.evil.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    let trusting = layer().with_trusted_origins(["https://id.example"]).unwrap();
    for (layer, site, status) in [
        (trusting.clone(), other, 200),
        (trusting, evil, 403),
        (layer(), other, 403),
        (layer().with_same_site(SameSite::None).unwrap(), other, 403),
        (layer().with_cross_site_requests(), evil, 200),
    ] {
        let app = routes().layer(layer);
        let mut client = Client::new(&app);
        client.post("/add/1").await;
        assert_eq!(from(&app, &client, "POST", &site).await.status, status);
    }
    assert!(layer().with_trusted_origins(["https://id.example/"]).is_err());
}

/// Its body is empty, since the layer knows nothing of bodies; who wants a page puts one there.
#[tokio::test]
async fn line_34_the_refusal_has_a_public_type() {
    let app = app(&builder().build().unwrap());
    let request = Request::post("/add/1").header("sec-fetch-site", "cross-site");
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let rejection = response.extensions().get::<CrossSiteRequest>();
    assert_eq!(rejection, Some(&CrossSiteRequest::default()));
    assert_eq!(rejection.unwrap().to_string(), "another site has caused this request");
}

#[tokio::test]
async fn line_41_a_store_that_is_away_is_503_and_nobody_is_signed_in_or_out() {
    let store = Arc::new(Fickle::default());
    let node = Node::over(store.clone());
    let client = super::signed_in(&node, "ada").await;
    let id = client.id();
    node.records.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
    drop(node);

    let node = Node::over(store.clone());
    let mut client = Client::with_id(&node.app, &id);
    store.away.store(true, SeqCst);
    for (method, path) in [
        ("GET", "/look"),
        ("GET", "/sessions"),
        ("POST", "/add"),
        ("POST", "/pay"),
        ("POST", "/logout"),
    ] {
        let answer = match method {
            "GET" => client.get(path).await,
            _ => client.post(path).await,
        };
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.header(header::RETRY_AFTER), Some("1"), "{path}");
        assert_eq!(answer.set_cookie(), None, "{path}");
    }
    let answer = client.post("/login/eve").await;
    assert!(
        !answer.body.is_empty() && answer.set_cookie().is_none(),
        "no login either"
    );
    assert_eq!(node.sessions.stats().started, 0, "no fresh session instead");
    store.away.store(false, SeqCst);
    assert_eq!(client.get("/look").await.body, "1");
    assert!(client.get("/sessions").await.body.contains("ada"));
}
