//! When a session begins and when it is over.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::post};
use http::{Request, header};
use session_process::{SessionId, Sessions};
use session_process_axum::{Error, Session, SessionLayer};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::support::{Add, Client, Counter, app, builder, send, timed};

#[tokio::test]
async fn a_request_that_does_not_use_its_session_starts_none() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    for path in ["/untouched", "/static", "/look", "/optional", "/id", "/nowhere"] {
        let answer = Client::new(&app).get(path).await;
        assert_eq!(answer.set_cookie(), None, "{path}");
    }
    assert_eq!(sessions.stats().started, 0);
}

#[tokio::test]
async fn a_cast_starts_a_session_too() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    assert!(client.post("/cast/3").await.set_cookie().is_some());
    assert_eq!(client.get("/look").await.body, "3");
}

#[tokio::test]
async fn a_session_with_arguments_is_started_once() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    assert_eq!(client.post("/room/blue").await.body, "blue");
    assert_eq!(client.post("/room/red").await.body, "blue");
}

#[tokio::test]
async fn only_responses_that_depend_on_the_session_are_kept_out_of_caches() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    for path in ["/untouched", "/static"] {
        assert_eq!(client.get(path).await.header(header::CACHE_CONTROL), None, "{path}");
    }
    for path in ["/look", "/optional", "/id"] {
        let answer = client.get(path).await;
        assert_eq!(answer.header(header::CACHE_CONTROL), Some("no-store"), "{path}");
    }
    let answer = client.post("/add/1").await;
    assert_eq!(answer.header(header::CACHE_CONTROL), Some("no-store"));
}

#[tokio::test]
async fn a_handler_decides_on_caching_itself() {
    let handler = |session: Session<Counter>| async move {
        session.call(Add(1)).await?;
        Ok::<_, Error>([(header::CACHE_CONTROL, "private, max-age=5")])
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(builder().build().unwrap()));
    let answer = Client::new(&app).post("/").await;
    assert_eq!(answer.header(header::CACHE_CONTROL), Some("private, max-age=5"));
}

#[tokio::test]
async fn an_expired_session_gives_way_to_a_fresh_one() {
    for use_every in [None, Some(Duration::from_secs(50))] {
        let (sessions, clock) = timed();
        let app = app(&sessions);
        let mut client = Client::new(&app);
        client.post("/add/1").await;
        let old = client.id();

        match use_every {
            // Idle.
            None => clock.advance(Duration::from_secs(61)),
            // In use all the time, and too old in the end.
            Some(every) => {
                for _ in 0..11 {
                    clock.advance(every);
                    assert_eq!(client.post("/touch").await.body, "true");
                }
                clock.advance(every);
            }
        }
        assert_eq!(client.get("/look").await.body, "none");
        assert_eq!(client.post("/add/1").await.body, "1");
        assert_ne!(client.id(), old);
        assert!(!sessions.is_started(&old));
    }
}

/// A handler that waits between finding its session and calling it.
fn pausing(sessions: &Sessions<Counter>) -> (Router, Arc<(Notify, Notify)>) {
    let gate = Arc::new((Notify::new(), Notify::new()));
    let inner = Arc::clone(&gate);
    let handler = move |session: Session<Counter>| {
        let gate = Arc::clone(&inner);
        async move {
            assert!(session.is_started().await?);
            gate.0.notify_one();
            gate.1.notified().await;
            let total = session.call(Add(1)).await?;
            assert!(session.is_new());
            Ok::<_, Error>(total.to_string())
        }
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(sessions.clone()));
    (app, gate)
}

#[tokio::test]
async fn a_session_that_ends_before_the_call_is_replaced_under_a_fresh_id() {
    let sessions = builder().build().unwrap();
    let old = SessionId::generate();
    sessions.start(&old).await.unwrap();
    sessions.call(&old, Add(10)).await.unwrap();

    let (app, gate) = pausing(&sessions);
    let mut client = Client::with_id(&app, &old);
    let request = tokio::spawn(async move { (client.post("/").await, client.id()) });
    gate.0.notified().await;
    sessions.terminate(&old).await.unwrap();
    gate.1.notify_one();

    let (answer, new) = request.await.unwrap();
    assert_eq!(answer.body, "1");
    assert_ne!(new, old);
    assert!(!sessions.is_started(&old) && sessions.is_started(&new));
}

#[tokio::test]
async fn parallel_first_requests_have_a_session_each() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let requests: Vec<_> = (0..32)
        .map(|_| {
            let mut client = Client::new(&app);
            tokio::spawn(async move { (client.post("/add/1").await.body, client.id()) })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for request in requests {
        let (body, id) = request.await.unwrap();
        assert_eq!(body, "1");
        assert!(ids.insert(id));
    }
    assert_eq!(sessions.stats().sessions, 32);
}

#[tokio::test]
async fn calls_at_once_in_one_request_share_one_session() {
    let sessions = builder().build().unwrap();
    let handler = |one: Session<Counter>, other: Session<Counter>| async move {
        let (a, b) = tokio::join!(one.call(Add(1)), other.call(Add(1)));
        assert_eq!(one.id().await?, other.id().await?);
        Ok::<_, Error>((a? + b?).to_string())
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(sessions.clone()));
    let answer = Client::new(&app).post("/").await;
    assert_eq!(answer.body, "3");
    assert_eq!(sessions.stats().started, 1);
}

#[tokio::test]
async fn a_start_that_fails_sets_no_cookie() {
    let app = app(&builder().build().unwrap());
    let answer = Client::new(&app).post("/room/bad").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.set_cookie(), None);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_session_as_it_was() {
    let sessions = builder().build().unwrap();
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    let (app, gate) = pausing(&sessions);
    let request = Request::post("/")
        .header(header::COOKIE, format!("__Host-id={}", id.expose()))
        .body(Body::empty())
        .unwrap();

    let request = tokio::spawn(app.oneshot(request));
    gate.0.notified().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());

    assert_eq!(sessions.call(&id, Add(0)).await.unwrap(), 0);
    assert_eq!(sessions.stats().sessions, 1);
}

#[tokio::test]
async fn after_the_response_no_session_is_started_or_rotated() {
    let sessions = builder().build().unwrap();
    let (sender, mut kept) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |session: Session<Counter>| {
        let sender = sender.clone();
        async move { sender.send(session).unwrap() }
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(sessions.clone()));

    Client::new(&app).post("/").await;
    let session = kept.recv().await.unwrap();
    assert!(matches!(session.call(Add(1)).await, Err(Error::ResponseSent)));
    assert_eq!(sessions.stats().started, 0);

    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    Client::with_id(&app, &id).post("/").await;
    let session = kept.recv().await.unwrap();
    assert_eq!(session.call(Add(1)).await.unwrap(), 1);
    assert!(matches!(session.rotate().await, Err(Error::ResponseSent)));
    assert!(sessions.is_started(&id));
}

#[tokio::test]
async fn the_layer_works_under_any_service() {
    let sessions = builder().build().unwrap();
    let service = tower::ServiceBuilder::new()
        .layer(SessionLayer::new(sessions.clone()))
        .service(tower::service_fn(|_: Request<String>| async {
            Ok::<_, std::io::Error>(http::Response::new(7u8))
        }));
    let response = service.oneshot(Request::new("text".to_owned())).await.unwrap();
    assert_eq!(*response.body(), 7);
}

#[tokio::test]
async fn a_failed_service_keeps_its_error() {
    let service = tower::ServiceBuilder::new()
        .layer(SessionLayer::new(builder().build().unwrap()))
        .service(tower::service_fn(|_: Request<()>| async {
            Err::<http::Response<()>, _>("broken")
        }));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err(), "broken");
}

#[tokio::test]
async fn the_session_of_a_monitor_is_the_one_of_the_request() {
    let sessions = builder().build().unwrap();
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    let handler = |session: Session<Counter>| async move {
        let mut monitor = session.monitor().await?.unwrap();
        assert!(session.end().await?);
        Ok::<_, Error>(monitor.ended().await.to_string())
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(sessions.clone()));
    let request = Request::post("/")
        .header(header::COOKIE, format!("__Host-id={}", id.expose()))
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(&app, request).await.body, "logged_out");
}
