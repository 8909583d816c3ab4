//! The extractors.

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use session_process::SessionId;
use session_process_axum::{CurrentId, Error, Session, SessionLayer};

use crate::support::{Add, Client, Counter, app, builder, routes};

#[tokio::test]
async fn a_missing_layer_is_named() {
    let app = routes();
    for path in ["/look", "/optional", "/id"] {
        let answer = Client::new(&app).get(path).await;
        assert_eq!(answer.status, 500, "{path}");
        assert!(answer.body.contains("session_process_axum::SessionLayer"), "{path}");
    }
}

#[tokio::test]
async fn an_optional_session_is_there_only_if_it_lives() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    assert_eq!(client.get("/optional").await.body, "none");
    client.post("/add/2").await;
    assert_eq!(client.get("/optional").await.body, "2");
    sessions.terminate(&client.id()).await.unwrap();
    assert_eq!(client.get("/optional").await.body, "none");
}

#[tokio::test]
async fn the_current_id_needs_a_live_session() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    let answer = client.get("/id").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (401, "no session"));
    client.post("/add/1").await;
    assert_eq!(client.get("/id").await.body, client.id().to_string());
}

#[tokio::test]
async fn an_optional_id_does_not_refuse() {
    let handler = |id: Option<CurrentId>| async move { id.is_some().to_string() };
    let app = Router::new()
        .route("/", get(handler))
        .layer(SessionLayer::new(builder().build().unwrap()));
    let answer = Client::with_id(&app, &SessionId::generate()).get("/").await;
    assert_eq!(answer.body, "false");
}

#[tokio::test]
async fn middleware_sees_the_session_of_its_handler() {
    async fn count(session: Session<Counter>, request: Request, next: Next) -> Result<Response, Error> {
        assert!(!session.is_started().await?);
        let response = next.run(request).await;
        assert!(session.is_new());
        session.call(Add(10)).await?;
        Ok(response)
    }
    let sessions = builder().build().unwrap();
    let app = routes()
        .layer(middleware::from_fn(count))
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    assert_eq!(sessions.call(&client.id(), Add(0)).await.unwrap(), 11);
    assert_eq!(sessions.stats().sessions, 1);
}
