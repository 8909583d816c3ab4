//! What the browser is given, and what is taken from it.

use http::{HeaderValue, header};
use proptest::prelude::*;
use session_process::SessionId;
use session_process_axum::{SameSite, SessionLayer};

use crate::support::{
    Client, app, builder, post_with_cookie_header, routes, send, with_the_id_everywhere_but_in_the_cookie,
};

#[tokio::test]
async fn the_cookie_has_exactly_these_attributes() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    let answer = client.post("/add/1").await;
    let id = client.id();
    assert_eq!(
        answer.set_cookie().unwrap(),
        format!("__Host-id={}; Path=/; Secure; HttpOnly; SameSite=Lax", id.expose())
    );
    assert_eq!(id.expose().len(), 32);
}

#[tokio::test]
async fn the_cookie_is_set_once() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let second = client.post("/add/1").await;
    assert_eq!((second.body.as_str(), second.set_cookie()), ("2", None));
}

#[tokio::test]
async fn development_on_plain_http_has_a_plain_cookie() {
    let sessions = builder().build().unwrap();
    let layer = SessionLayer::new(sessions).with_insecure_cookies().unwrap();
    let app = routes().layer(layer);
    let mut client = Client::new(&app);

    let answer = client.post("/add/1").await;
    let expected = format!("id={}; Path=/; HttpOnly; SameSite=Lax", client.id().expose());
    assert_eq!(answer.set_cookie().unwrap(), expected);
    assert_eq!(client.post("/add/1").await.body, "2");
    let removal = client.post("/logout").await;
    assert_eq!(
        removal.set_cookie().unwrap(),
        "id=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    );
}

#[tokio::test]
async fn options_reach_the_cookie() {
    let layer = SessionLayer::new(builder().build().unwrap())
        .with_cookie_name("__Host-shop")
        .and_then(|layer| layer.with_same_site(SameSite::Strict))
        .and_then(|layer| layer.with_max_age(std::time::Duration::from_secs(3600)))
        .unwrap();
    let app = routes().layer(layer);
    let mut client = Client::new(&app);
    let answer = client.post("/add/1").await;
    let expected = format!(
        "__Host-shop={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=3600",
        client.id().expose()
    );
    assert_eq!(answer.set_cookie().unwrap(), expected);
}

#[tokio::test]
async fn an_unknown_id_is_never_adopted() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let made_up = SessionId::generate();
    let mut client = Client::with_id(&app, &made_up);

    assert_eq!(client.post("/add/1").await.body, "1");
    assert_ne!(client.id(), made_up);
    assert!(!sessions.is_started(&made_up));
    assert_eq!(sessions.list(), [client.id()]);
}

#[tokio::test]
async fn an_id_that_is_not_well_formed_is_as_good_as_none() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let long = format!("__Host-id={}", "a".repeat(SessionId::MAX_LEN + 1));
    let values: [&[u8]; 7] = [
        b"__Host-id=",
        b"__Host-id",
        b"__Host-id=a b",
        b"__Host-id=../../etc",
        b"__Host-id=\xff\xfe",
        b"__Host-id=\"abc\"",
        long.as_bytes(),
    ];
    for value in values {
        let answer = post_with_cookie_header(&app, "/add/1", &[value]).await;
        assert_eq!(answer.body, "1");
        assert!(answer.set_cookie().is_some());
    }
    assert_eq!(sessions.stats().sessions, values.len());
}

#[tokio::test]
async fn two_cookies_of_the_name_or_a_variant_of_its_prefix_are_anonymous() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let real = client.cookie.clone().unwrap();
    let text = client.id().expose().to_owned();

    let twice = format!("{real}; {real}");
    let planted = format!("{real}; __Host-id=evil");
    let beside = format!("{real}; __HOST-id=evil");
    let variant = format!("__host-id={text}");
    for cookie in [&twice, &planted, &beside, &variant] {
        let answer = post_with_cookie_header(&app, "/look", &[cookie.as_bytes()]).await;
        assert_eq!(answer.status, 405);
        let answer = post_with_cookie_header(&app, "/touch", &[cookie.as_bytes()]).await;
        assert_eq!(answer.body, "false", "{}", cookie.replace(&text, "ID"));
    }
    let answer = post_with_cookie_header(&app, "/touch", &[real.as_bytes(), real.as_bytes()]).await;
    assert_eq!(answer.body, "false");
    let answer = post_with_cookie_header(&app, "/touch", &[b"a=b", real.as_bytes()]).await;
    assert_eq!(answer.body, "true");
}

#[tokio::test]
async fn the_id_is_read_from_the_cookie_only() {
    let sessions = builder().build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let request = with_the_id_everywhere_but_in_the_cookie(&client.id());
    assert_eq!(send(&app, request).await.body, "false");
}

#[test]
fn any_cookie_header_is_survived_and_names_no_session() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (app, sessions) = runtime.block_on(async {
        let sessions = builder().build().unwrap();
        (app(&sessions), sessions)
    });
    let piece = prop_oneof![
        Just(b"__Host-id=".to_vec()),
        Just(b"; ".to_vec()),
        Just(b"=".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::string::bytes_regex("[A-Za-z0-9_-]{1,140}").unwrap(),
    ];
    let header = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
    proptest!(|(bytes in header)| {
        if HeaderValue::from_bytes(&bytes).is_ok() {
            let answer = runtime.block_on(post_with_cookie_header(&app, "/touch", &[&bytes]));
            prop_assert_eq!(answer.body, "false");
            prop_assert!(answer.headers.get(header::SET_COOKIE).is_none());
        }
    });
    assert_eq!(sessions.stats().started, 0);
}
