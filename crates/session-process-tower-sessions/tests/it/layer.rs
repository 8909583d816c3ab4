//! With their layer: whole applications.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode, header},
    routing::{get, post},
};
use http_body_util::BodyExt;
use session_process::{
    records::SessionRecords,
    store::{MemoryStore, Owner, OwnerText, SessionStore},
};
use session_process_sqlite::SqliteStore;
use session_process_tower_sessions::{RecordStore, session_id};
use testkit::Gate;
use tower::ServiceExt;
use tower_sessions::{Expiry, Session, SessionManagerLayer};

#[derive(Clone)]
struct App {
    records: SessionRecords,
    gate: Gate,
}

async fn add(session: Session) -> String {
    let count = session.get::<u64>("count").await.unwrap().unwrap_or_default() + 1;
    session.insert("count", count).await.unwrap();
    count.to_string()
}

async fn look(session: Session) -> String {
    let count = session.get::<u64>("count").await.unwrap();
    count.map_or("none".to_owned(), |count| count.to_string())
}

async fn slow(session: Session, State(app): State<App>) -> &'static str {
    session.insert("slow", true).await.unwrap();
    app.gate.pass().await;
    "done"
}

async fn login(session: Session, State(app): State<App>) {
    session.cycle_id().await.unwrap();
    session.save().await.unwrap();
    let id = session_id(session.id().unwrap());
    app.records.set_user(&id, Some("ada")).await.unwrap();
}

fn node(store: Arc<dyn SessionStore>) -> (Router, App) {
    let records = SessionRecords::builder_over(store).build().unwrap();
    let app = App {
        records: records.clone(),
        gate: Gate::new(),
    };
    let layer = SessionManagerLayer::new(RecordStore::new(records))
        .with_expiry(Expiry::OnInactivity(time::Duration::minutes(10)));
    let router = Router::new()
        .route("/add", post(add))
        .route("/look", get(look))
        .route("/slow", post(slow))
        .route("/login", post(login))
        .route(
            "/logout",
            post(|session: Session| async move { session.flush().await.unwrap() }),
        )
        .with_state(app.clone())
        .layer(layer);
    (router, app)
}

/// A browser.
#[derive(Clone, Default)]
struct Client {
    cookie: Option<String>,
}

impl Client {
    async fn send(&mut self, app: &Router, method: &str, path: &str) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        if let Some(set) = response.headers().get(header::SET_COOKIE) {
            let (pair, rest) = set.to_str().unwrap().split_once(';').unwrap();
            self.cookie = (!rest.contains("Max-Age=0")).then(|| pair.to_owned());
        }
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn an_application_of_theirs_works_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path().join("sessions.db")).await.unwrap());
    let (app, _) = node(store.clone());
    let mut client = Client::default();
    assert_eq!(client.send(&app, "GET", "/look").await.1, "none");
    assert_eq!(client.cookie, None);
    assert_eq!(client.send(&app, "POST", "/add").await.1, "1");
    assert_eq!(client.send(&app, "POST", "/add").await.1, "2");
    let before = client.clone();
    client.send(&app, "POST", "/login").await;
    assert_ne!(client.cookie, before.cookie);
    assert_eq!(client.send(&app, "GET", "/look").await.1, "2");
    assert_eq!(
        before.clone().send(&app, "GET", "/look").await.1,
        "none",
        "the old id is dead"
    );
    store.shutdown().await;

    // Another run of the program.
    let store = Arc::new(SqliteStore::open(dir.path().join("sessions.db")).await.unwrap());
    let (app, _) = node(store.clone());
    assert_eq!(client.send(&app, "GET", "/look").await.1, "2");
    let mut copy = client.clone();
    client.send(&app, "POST", "/logout").await;
    assert_eq!(copy.send(&app, "GET", "/look").await.1, "none");
    store.shutdown().await;
}

/// With their own stores the session is back afterwards, signed in.
#[tokio::test]
async fn a_logout_during_a_slow_request_is_final() {
    let (router, app) = node(Arc::new(MemoryStore::new()));
    let mut client = Client::default();
    client.send(&router, "POST", "/add").await;
    client.send(&router, "POST", "/login").await;
    let mut slow = client.clone();
    let (answer, ()) = tokio::join!(slow.send(&router, "POST", "/slow"), async {
        app.gate.reached().await;
        client.clone().send(&router, "POST", "/logout").await;
        app.gate.open();
    });
    assert_eq!(
        answer.0,
        StatusCode::INTERNAL_SERVER_ERROR,
        "its change is not kept, and it says so"
    );
    assert_eq!(client.send(&router, "GET", "/look").await.1, "none");
    let all = app.records.list(&Owner::Everyone, None, 10).await.unwrap();
    assert!(all.is_empty());
}

/// Alternating, on two nodes with a cache each: theirs end at 11 of 21.
#[tokio::test]
async fn two_nodes_see_each_others_changes() {
    let store = Arc::new(MemoryStore::new());
    let nodes = [node(store.clone()), node(store)];
    let mut client = Client::default();
    for nth in 1..=21 {
        let (app, here) = &nodes[nth % 2];
        // Until this node has heard of the last change.
        loop {
            let seen = client.clone().send(app, "GET", "/look").await.1;
            if nth == 1 || seen == (nth - 1).to_string() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(client.send(app, "POST", "/add").await.1, nth.to_string());
        assert!(here.records.stats().cached > 0, "there is a cache");
    }
}

#[tokio::test]
async fn a_users_sessions_are_found_and_ended_on_every_node() {
    let store = Arc::new(MemoryStore::new());
    let (here, there) = (node(store.clone()), node(store));
    let mut clients = vec![Client::default(); 3];
    for client in &mut clients {
        client.send(&here.0, "POST", "/add").await;
        client.send(&here.0, "POST", "/login").await;
        assert_eq!(client.send(&there.0, "GET", "/look").await.1, "1");
    }
    let ada = Owner::User(OwnerText::new("ada").unwrap());
    assert_eq!(here.1.records.list(&ada, None, 10).await.unwrap().len(), 3);
    assert_eq!(there.1.records.delete_all(&ada).await.unwrap(), 3);
    for mut client in clients {
        while client.clone().send(&here.0, "GET", "/look").await.1 != "none" {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.send(&there.0, "GET", "/look").await.1, "none");
    }
    here.1.records.shutdown(Duration::from_secs(5)).await.unwrap();
}
