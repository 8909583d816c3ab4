//! Lines 28, 30 and 31: what is written down.

use std::{fmt::Write, sync::Arc, task::Poll};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use session_process::{
    Event, SessionId,
    events::{RefusedId, Subscriber},
    store::SessionKey,
};
use session_process_axum::{KeyRing, SigningKey};
use session_process_sqlite::SqliteStore;
use testkit::capture_tracing;

use super::Node;
use crate::support::Client;

#[tokio::test]
async fn line_28_a_database_holds_no_id_and_what_it_holds_opens_no_session() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path().join("sessions.db")).await.unwrap());
    let node = Node::over(store.clone());
    let mut client = Client::new(&node.app);
    client.post("/add").await;
    let mut issued = vec![client.id()];
    client.post("/login/ada").await;
    issued.push(client.id());
    node.records.shutdown(std::time::Duration::from_secs(5)).await.unwrap();

    let mut dump = Vec::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        dump.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |what: &[u8]| dump.windows(what.len()).any(|part| part == what);
    assert!(holds(b"ada"), "the dump is one");
    assert!(holds(SessionKey::of(&client.id()).as_bytes()), "the hash is there");
    for id in &issued {
        assert!(!holds(id.expose().as_bytes()));
        assert!(!holds(&URL_SAFE_NO_PAD.decode(id.expose()).unwrap()));
    }

    let key = SessionKey::of(&client.id());
    let hex = key.as_bytes().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    for stolen in [hex, URL_SAFE_NO_PAD.encode(key.as_bytes())] {
        let mut thief = Client::new(&node.app);
        thief.cookie = Some(format!("__Host-id={stolen}"));
        assert_eq!(thief.get("/look").await.body, "none");
    }
    assert_eq!(client.get("/look").await.body, "1");
    store.shutdown().await;
}

#[tokio::test]
async fn line_30_no_id_is_in_a_log_an_error_an_event_or_a_debug_text() {
    let (log, _guard) = capture_tracing();
    let keys = KeyRing::new(SigningKey::generate());
    let node = Node::with(
        Arc::new(crate::durable::Fickle::default()),
        |records| records,
        |layer| layer.with_signing_keys(keys),
    );
    let (mut events, mut of_records) = (node.sessions.events(), node.records.events());
    let mut client = Client::new(&node.app);
    let mut secrets = Vec::new();
    let mut texts = String::new();
    for path in [
        "/add",
        "/login/ada",
        "/add",
        "/pay",
        "/sessions",
        "/nowhere",
        "/login/ada",
        "/logout",
        "/add",
    ] {
        let answer = client.post(path).await;
        texts += &answer.body;
        if let Some(cookie) = &client.cookie {
            let (_, value) = cookie.split_once('=').unwrap();
            let (id, tag) = value.split_once('.').unwrap();
            secrets.extend([id.to_owned(), tag.to_owned()]);
            let id: SessionId = id.parse().unwrap();
            write!(
                texts,
                "{id} {id:?} {:?}",
                node.sessions.call(&id, crate::durable::Look).await
            )
            .unwrap();
            write!(texts, "{:?}", node.sessions.terminate(&SessionId::generate()).await).unwrap();
        }
    }
    let mut forger = Client::new(&node.app);
    for made_up in [
        "made-up-but-well-formed",
        "not well formed either",
        "made-up.and-signed",
    ] {
        forger.cookie = Some(format!("__Host-id={made_up}"));
        forger.get("/look").await;
        secrets.push(made_up.to_owned());
    }
    write!(texts, "{:?} {:?} {:?}", node.sessions, node.records, keys_debug()).unwrap();
    let heard = drain(&mut events).await + drain(&mut of_records).await;
    assert!(heard > 10);

    let log = log.text();
    for expected in [
        "session started",
        "session id rotated",
        "session ended",
        "forged",
        "malformed",
    ] {
        assert!(log.contains(expected), "the log was captured: {expected}");
    }
    for secret in secrets {
        assert!(!log.contains(&secret) && !texts.contains(&secret));
    }

    async fn drain(events: &mut Subscriber) -> usize {
        let mut heard = 0;
        loop {
            let mut next = std::pin::pin!(events.recv());
            let next = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
            let Poll::Ready(Ok(Some(event))) = next else {
                return heard;
            };
            heard += 1;
            // Sessions appear by handles alone. (The ids are compared with the log, which has every event.)
            assert!(!format!("{event:?}").contains("SessionId"));
        }
    }

    fn keys_debug() -> KeyRing {
        KeyRing::new(SigningKey::from_bytes(&[b's'; 32]).unwrap())
    }
}

#[tokio::test]
async fn line_31_start_rotation_end_and_refusal_are_told_with_the_public_handle() {
    let (log, _guard) = capture_tracing();
    let node = Node::over(Arc::new(crate::durable::Fickle::default()));
    let mut events = node.sessions.events();
    let mut client = Client::new(&node.app);
    client.post("/add").await;
    let first = client.id().public_handle();
    client.post("/login/ada").await;
    let second = client.id().public_handle();
    client.post("/logout").await;
    Client::with_id(&node.app, &SessionId::generate()).get("/look").await;

    let started = events.find(|event| match event {
        Event::Started { session, .. } => Some(*session),
        _ => None,
    });
    assert_eq!(started.await, Some(first));
    let rotated = events.find(|event| match event {
        Event::Rotated { from, to } => Some((*from, *to)),
        _ => None,
    });
    assert_eq!(rotated.await, Some((first, second)));
    let ended = events.find(|event| match event {
        Event::Ended { session, .. } => Some(*session),
        _ => None,
    });
    assert_eq!(ended.await, Some(second));
    let refused = events.find(|event| match event {
        Event::IdRefused { reason } => Some(*reason),
        _ => None,
    });
    assert_eq!(refused.await, Some(RefusedId::Unknown));
    let log = log.text();
    for handle in [first, second] {
        assert!(log.contains(&handle.to_string()));
    }
}
