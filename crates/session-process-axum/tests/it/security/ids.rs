//! Lines 1 to 6: what an id is, and the way it takes.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Request, header};
use proptest::prelude::*;
use session_process::{Event, SessionId, events::RefusedId};

use super::Node;
use crate::{
    durable::{Fickle, Run},
    support::{Answer, Client, app, builder, post_with_cookie_header, send, with_the_id_everywhere_but_in_the_cookie},
};

#[test]
fn line_01_ids_are_192_random_bits_and_no_two_of_a_million_are_the_same() {
    let mut seen = HashSet::with_capacity(1_000_000);
    for _ in 0..1_000_000 {
        let bytes = URL_SAFE_NO_PAD.decode(SessionId::generate().expose()).unwrap();
        let id: [u8; 24] = bytes.try_into().expect("192 bits, of which 128 are asked for");
        assert!(seen.insert(id));
    }
}

/// A time, a counter or a name of a machine would be the same in many ids made at once: every character of theirs takes
/// nearly all the values that it can.
#[test]
fn line_02_ids_carry_nothing() {
    let ids: Vec<_> = (0..2_000).map(|_| SessionId::generate().expose().to_owned()).collect();
    for position in 0..32 {
        let values: HashSet<_> = ids.iter().map(|id| id.as_bytes()[position]).collect();
        // Of 64; that even one is missing has a chance of 64 · (63/64)^2000, a millionth of a millionth.
        assert_eq!(values.len(), 64, "position {position}");
    }
}

#[tokio::test]
async fn line_03_an_unknown_id_is_never_adopted_and_is_counted() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut events = run.sessions.events();
    let made_up = SessionId::generate();
    let mut client = Client::with_id(&run.app, &made_up);
    assert_eq!(client.post("/add").await.body, "1");
    assert_ne!(client.id(), made_up);
    assert!(!run.sessions.exists(&made_up).await.unwrap(), "no record under it");
    assert!(run.sessions.exists(&client.id()).await.unwrap());
    let refused = events.find(|event| match event {
        Event::IdRefused { reason } => Some(*reason),
        _ => None,
    });
    assert_eq!(refused.await, Some(RefusedId::Unknown));
}

#[test]
fn line_04_a_malformed_id_is_refused_before_any_look_up() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = Arc::new(Fickle::default());
    let node = runtime.block_on(async { Node::over(store.clone()) });
    let value = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::string::bytes_regex("[A-Za-z0-9_-]{129,300}").unwrap(),
        proptest::string::bytes_regex("[A-Za-z0-9_-]{1,40}[^A-Za-z0-9_-][A-Za-z0-9_-]{0,40}").unwrap(),
    ];
    proptest!(|(value in value)| {
        let header = [b"__Host-id=".as_slice(), &value].concat();
        let is_cookie = HeaderValue::from_bytes(&header).is_ok() && !value.contains(&b';');
        if is_cookie && SessionId::from_bytes(value.trim_ascii()).is_err() {
            store.loads.store(0, SeqCst);
            let request = Request::get("/look").header(header::COOKIE, HeaderValue::from_bytes(&header).unwrap());
            let answer = runtime.block_on(send(&node.app, request.body(Body::empty()).unwrap()));
            prop_assert_eq!((answer.body.as_str(), store.loads.load(SeqCst)), ("none", 0));
        }
    });
}

#[tokio::test]
async fn line_05_the_id_is_read_from_the_cookie_only() {
    let app = app(&builder().build().unwrap());
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let id = client.id();
    let request = with_the_id_everywhere_but_in_the_cookie(&id);
    assert_eq!(send(&app, request).await.body, "false");
    let cookie = format!("__Host-id={}", id.expose());
    let answer = post_with_cookie_header(&app, "/touch", &[cookie.as_bytes()]).await;
    assert_eq!(answer.body, "true", "the same in the cookie is taken");
}

#[tokio::test]
async fn line_06_the_id_leaves_in_set_cookie_only() {
    let call_timeout = std::time::Duration::from_millis(50);
    let sessions = builder().max_sessions(1).call_timeout(call_timeout).build().unwrap();
    let app = app(&sessions);
    let mut client = Client::new(&app);
    let (mut answers, mut secrets): (Vec<Answer>, Vec<String>) = Default::default();
    for path in [
        "/add/1",
        "/login",
        "/fail",
        "/hang",
        "/room/blue",
        "/touch",
        "/cast/1",
        "/nowhere",
    ] {
        answers.push(client.post(path).await);
        secrets.push(client.id().expose().to_owned());
    }
    for path in ["/id", "/look", "/optional"] {
        answers.push(client.get(path).await);
    }
    answers.push(Client::new(&app).post("/add/1").await);
    answers.push(client.post("/logout").await);

    let mut set = 0;
    for answer in &answers {
        for secret in &secrets {
            assert!(!answer.body.contains(secret));
            for (name, value) in &answer.headers {
                let has = value.to_str().unwrap().contains(secret);
                assert!(!has || name == header::SET_COOKIE, "in {name}");
                set += usize::from(has);
            }
        }
    }
    assert!(set > 0, "it does leave there");
}
