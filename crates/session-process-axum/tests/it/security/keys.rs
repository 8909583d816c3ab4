//! Lines 29 and 40: signatures.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use session_process::{Event, SessionId, events::RefusedId};
use session_process_axum::{KeyRing, SessionLayer, SigningKey};

use super::Node;
use crate::{
    durable::Fickle,
    support::{Client, builder, post_with_cookie_header, routes},
};

fn signed(keys: &KeyRing) -> (Node, Arc<Fickle>) {
    let store = Arc::new(Fickle::default());
    let keys = keys.clone();
    let node = Node::with(store.clone(), |records| records, |layer| layer.with_signing_keys(keys));
    (node, store)
}

/// The crate's own tests turn over every bit of a signature. What can't be seen from outside is how long a comparison
/// takes: that the `hmac` crate does it, in constant time, is read here.
#[tokio::test]
async fn line_29_secrets_are_compared_in_constant_time() {
    let (node, _) = signed(&KeyRing::new(SigningKey::generate()));
    let mut client = Client::new(&node.app);
    client.post("/add").await;
    let cookie = client.cookie.clone().unwrap();
    for nth in 1..=43 {
        let mut forged = cookie.clone().into_bytes();
        let at = forged.len() - nth;
        forged[at] = if forged[at] == b'A' { b'E' } else { b'A' };
        let mut forger = Client::new(&node.app);
        forger.cookie = Some(String::from_utf8(forged).unwrap());
        assert_eq!(forger.get("/look").await.body, "none", "character {nth} from the end");
    }
    assert_eq!(client.get("/look").await.body, "1");
    let source = include_str!("../../../src/keys.rs");
    assert!(source.contains(".verify_slice(") && !source.contains("== tag"));
}

#[tokio::test]
async fn line_40_the_newest_key_signs_all_verify_and_a_removed_one_is_refused_while_the_server_runs() {
    let first = SigningKey::generate();
    let keys = KeyRing::new(first.clone());
    let (node, _) = signed(&keys);
    let mut client = Client::new(&node.app);
    client.post("/add").await;
    let by_first = client.cookie.clone().unwrap();
    let mut idle = Client::new(&node.app);
    idle.post("/add").await;

    keys.rotate(SigningKey::generate());
    let answer = client.post("/add").await;
    assert_eq!(answer.body, "2");
    let by_second = client.cookie.clone().unwrap();
    assert_ne!(by_first, by_second, "who comes back is signed anew");
    let id = |cookie: &str| cookie.split_once('.').unwrap().0.to_owned();
    assert_eq!(id(&by_first), id(&by_second));
    assert_eq!(client.get("/look").await.set_cookie(), None, "once");

    assert!(keys.remove(first.id()));
    assert_eq!(client.get("/look").await.body, "2");
    assert_eq!(idle.get("/look").await.body, "none");
    client.cookie = Some(by_first);
    assert_eq!(client.get("/look").await.body, "none");
}

#[tokio::test]
async fn line_40_an_id_without_a_good_signature_is_turned_away_without_a_look_up() {
    let (node, store) = signed(&KeyRing::new(SigningKey::generate()));
    let mut events = node.sessions.events();
    let mut client = Client::new(&node.app);
    client.post("/add").await;
    let real = client.cookie.clone().unwrap();
    let (id, tag) = real.split_once('.').unwrap();
    let other = SessionId::generate();
    store.loads.store(0, SeqCst);
    for cookie in [
        id.to_owned(),
        format!("{id}."),
        format!("{id}.{}", &tag[1..]),
        format!("{id}.{tag}="),
        format!("{id}.{tag}.{tag}"),
        format!("__Host-id={}.{tag}", other.expose()),
        format!("__Host-id={}", other.expose()),
    ] {
        let answer = post_with_cookie_header(&node.app, "/logout", &[cookie.as_bytes()]).await;
        assert_eq!(answer.body, "false");
        let refused = events.find(|event| match event {
            Event::IdRefused { reason } => Some(*reason),
            _ => None,
        });
        assert_eq!(refused.await, Some(RefusedId::Forged));
    }
    assert_eq!(store.loads.load(SeqCst), 0);
    assert_eq!(client.get("/look").await.body, "1");
}

#[tokio::test]
async fn line_40_nodes_with_the_same_keys_take_each_others_cookies_and_no_others() {
    let key = || SigningKey::from_bytes(b"thirty-two bytes, the same for all").unwrap();
    let sessions = builder().build().unwrap();
    let app = |key| routes().layer(SessionLayer::new(sessions.clone()).with_signing_keys(KeyRing::new(key)));
    let mut client = Client::new(&app(key()));
    client.post("/add/3").await;
    let cookie = client.cookie;
    for (key, expected) in [(key(), "3"), (SigningKey::generate(), "none")] {
        let mut client = Client::new(&app(key));
        client.cookie.clone_from(&cookie);
        assert_eq!(client.get("/look").await.body, expected);
    }
}
