//! Line 39: guessing is noticed, for each address.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{Request, header};
use session_process::{Event, ManualClock, SessionId, Sessions, records::SessionRecords, store::MemoryStore};
use session_process_axum::{GuessLimit, SessionLayer};

use super::{Node, routes};
use crate::{
    durable::{Fickle, Ledger},
    support::{Answer, Client, send},
};

const HERE: &str = "198.51.100.7:4711";
const THERE: &str = "198.51.100.8:4711";

fn three() -> GuessLimit {
    GuessLimit::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(60))
}

fn node(store: Arc<Fickle>) -> Node {
    Node::with(store, |records| records, |layer| layer.with_guess_limit(three()))
}

async fn look(app: &Router, from: &str, id: &str) -> Answer {
    let mut request = Request::get("/look")
        .header(header::COOKIE, format!("__Host-id={id}"))
        .body(Body::empty())
        .unwrap();
    let peer: SocketAddr = from.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    send(app, request).await
}

fn made_up() -> String {
    SessionId::generate().expose().to_owned()
}

#[tokio::test]
async fn line_39_after_so_many_bad_ids_an_address_is_answered_429_and_an_event_says_so() {
    let store = Arc::new(Fickle::default());
    let node = node(store.clone());
    let mut events = node.sessions.events();
    for _ in 0..3 {
        assert_eq!(look(&node.app, HERE, &made_up()).await.body, "none");
    }
    let answer = look(&node.app, HERE, &made_up()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (429, "too many unknown sessions")
    );
    let after: u64 = answer.header(header::RETRY_AFTER).unwrap().parse().unwrap();
    assert!((1..=60).contains(&after));
    let guessing = events.find(|event| match event {
        Event::Guessing { source, ids } => Some((source.to_string(), *ids)),
        _ => None,
    });
    assert_eq!(guessing.await, Some(("198.51.100.7".to_owned(), 4)));

    store.loads.store(0, SeqCst);
    for id in [made_up(), "not well formed".to_owned()] {
        assert_eq!(look(&node.app, HERE, &id).await.status, 429);
    }
    assert_eq!(store.loads.load(SeqCst), 0, "nothing is looked up");
    assert_eq!(
        look(&node.app, THERE, &made_up()).await.status,
        200,
        "others are let alone"
    );
}

#[tokio::test]
async fn line_39_every_kind_of_bad_id_counts() {
    let node = node(Arc::new(Fickle::default()));
    for id in ["not well formed", "two; __Host-id=ids", "an,other"] {
        assert_eq!(look(&node.app, HERE, id).await.body, "none");
    }
    assert_eq!(look(&node.app, HERE, "one more").await.status, 429);
}

#[tokio::test]
async fn line_39_a_browser_that_keeps_sending_one_dead_cookie_is_not_guessing() {
    let node = node(Arc::new(Fickle::default()));
    let dead = made_up();
    for _ in 0..20 {
        assert_eq!(look(&node.app, HERE, &dead).await.body, "none");
    }
}

#[tokio::test]
async fn line_39_who_shares_the_address_keeps_a_session_that_lives_and_can_begin_one() {
    let store = Arc::new(Fickle::default());
    let node = node(store);
    let mut client = Client::new(&node.app);
    client.post("/add").await;
    let id = client.id();
    for _ in 0..5 {
        look(&node.app, HERE, &made_up()).await;
    }
    assert_eq!(look(&node.app, HERE, &made_up()).await.status, 429);
    assert_eq!(look(&node.app, HERE, id.expose()).await.body, "1");
    let mut request = Request::post("/add").body(Body::empty()).unwrap();
    request
        .extensions_mut()
        .insert(ConnectInfo(HERE.parse::<SocketAddr>().unwrap()));
    let answer = send(&node.app, request).await;
    assert!(answer.status.is_success() && answer.set_cookie().is_some());
}

#[tokio::test]
async fn line_39_after_its_time_an_address_begins_anew() {
    let clock = ManualClock::new();
    let records = SessionRecords::builder(MemoryStore::with_clock(clock.clone()))
        .clock(clock.clone())
        .build()
        .unwrap();
    let sessions = Sessions::<Ledger>::builder()
        .records(records.clone())
        .clock(clock.clone())
        .build()
        .unwrap();
    let layer = SessionLayer::new(sessions).with_guess_limit(three());
    let app = routes().with_state(records).layer(layer);
    for _ in 0..4 {
        look(&app, HERE, &made_up()).await;
    }
    let answer = look(&app, HERE, &made_up()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header(header::RETRY_AFTER)),
        (429, Some("60"))
    );
    clock.advance(Duration::from_secs(59));
    assert_eq!(
        look(&app, HERE, &made_up()).await.header(header::RETRY_AFTER),
        Some("1")
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(look(&app, HERE, &made_up()).await.body, "none");
}

#[tokio::test]
async fn line_39_the_application_can_say_what_requests_are_told_apart_by() {
    let limit = three().by(|parts| Some(parts.headers.get("x-real-ip")?.to_str().ok()?.to_owned()));
    let node = Node::with(
        Arc::new(Fickle::default()),
        |records| records,
        |layer| layer.with_guess_limit(limit),
    );
    let look = async |real_ip: Option<&str>| {
        let mut request = Request::get("/look").header(header::COOKIE, format!("__Host-id={}", made_up()));
        if let Some(real_ip) = real_ip {
            request = request.header("x-real-ip", real_ip);
        }
        send(&node.app, request.body(Body::empty()).unwrap())
            .await
            .status
            .as_u16()
    };
    for _ in 0..3 {
        assert_eq!(look(Some("203.0.113.1")).await, 200);
    }
    assert_eq!(look(Some("203.0.113.1")).await, 429);
    assert_eq!(look(Some("203.0.113.2")).await, 200);
    for _ in 0..5 {
        assert_eq!(look(None).await, 200, "nobody to count for");
    }
}

#[tokio::test]
async fn line_39_where_no_address_is_known_a_warning_says_once_that_nothing_is_counted() {
    let (log, _guard) = testkit::capture_tracing();
    let node = node(Arc::new(Fickle::default()));
    for _ in 0..10 {
        let mut client = Client::with_id(&node.app, &SessionId::generate());
        assert_eq!(client.get("/look").await.status, 200);
    }
    assert_eq!(log.text().matches("WARN").count(), 1, "{}", log.text());
    assert!(log.text().contains("into_make_service_with_connect_info"));
}
