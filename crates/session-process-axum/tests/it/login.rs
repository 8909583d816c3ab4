//! Rotation at login, removal at logout.

use axum::{Router, routing::post};
use session_process::SessionId;
use session_process_axum::{Error, Session, SessionLayer};

use crate::support::{Add, Client, Counter, app, builder};

#[tokio::test]
async fn an_id_that_was_planted_is_dead_after_the_login() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    // The attacker gets a session, and plants its cookie in the victim's browser.
    let mut attacker = Client::new(&app);
    attacker.post("/add/5").await;
    let planted = attacker.id();
    let mut victim = Client::with_id(&app, &planted);

    let answer = victim.post("/login").await;
    assert_eq!(answer.body, "5", "the state is kept");
    let expected = format!(
        "__Host-id={}; Path=/; Secure; HttpOnly; SameSite=Lax",
        victim.id().expose()
    );
    assert_eq!(answer.set_cookie().unwrap(), expected);

    assert_ne!(victim.id(), planted);
    assert!(!sessions.is_started(&planted));
    assert_eq!(attacker.get("/look").await.body, "none");
    assert_eq!(victim.get("/look").await.body, "5");
}

#[tokio::test]
async fn a_login_without_a_session_starts_one_under_a_fresh_id() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let made_up = SessionId::generate();
    let mut client = Client::with_id(&app, &made_up);
    assert_eq!(client.post("/login").await.body, "0");
    assert_ne!(client.id(), made_up);
    assert_eq!(sessions.list(), [client.id()]);
}

#[tokio::test]
async fn after_a_rotation_all_extractors_have_the_new_id() {
    let sessions = builder().build().unwrap();
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    let handler = |one: Session<Counter>, other: Session<Counter>| async move {
        other.call(Add(1)).await?;
        let new = one.rotate().await?;
        assert_eq!(other.id().await?, Some(new));
        other.call(Add(1)).await.map(|total| total.to_string())
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::with_id(&app, &id);
    assert_eq!(client.post("/").await.body, "2");
    assert_eq!(sessions.list(), [client.id()]);
}

#[tokio::test]
async fn a_logout_ends_the_session_and_removes_the_cookie() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let id = client.id();

    let answer = client.post("/logout").await;
    assert_eq!(
        answer.set_cookie(),
        Some("__Host-id=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
    );
    assert!(!sessions.is_started(&id));

    let mut replay = Client::with_id(&app, &id);
    assert_eq!(replay.get("/look").await.body, "none");
    assert_eq!(replay.post("/add/1").await.body, "1");
    assert_ne!(replay.id(), id);
}

#[tokio::test]
async fn a_logout_removes_the_cookie_of_a_session_that_is_gone() {
    let app = app(&builder().build().unwrap());
    let answer = Client::with_id(&app, &SessionId::generate()).post("/logout").await;
    assert_eq!(answer.body, "false");
    assert!(answer.set_cookie().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn a_message_after_the_logout_begins_another_session() {
    let sessions = builder().build().unwrap();
    let id = SessionId::generate();
    sessions.start(&id).await.unwrap();
    let handler = |session: Session<Counter>| async move {
        session.end().await?;
        assert!(!session.is_started().await?);
        session.call(Add(1)).await?;
        Ok::<_, Error>(())
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::with_id(&app, &id);
    client.post("/").await;
    assert_ne!(client.id(), id);
    assert_eq!(sessions.list(), [client.id()]);
}
