//! Lines 23 to 26: how sessions end before their time.

use std::{num::NonZeroU32, sync::Arc};

use http::header;
use session_process::{
    records::RecordHandle,
    store::{MemoryStore, Owner, OwnerLimit, OwnerLimitPolicy},
};

use super::{Node, signed_in, until, user};
use crate::support::Client;

fn two_nodes() -> (Node, Node) {
    let store = Arc::new(MemoryStore::new());
    (Node::over(store.clone()), Node::over(store))
}

async fn is_signed_in(node: &Node, client: &Client) -> bool {
    let body = Client::with_id(&node.app, &client.id()).get("/look").await.body;
    body != "none"
}

#[tokio::test]
async fn line_23_a_logout_is_effective_on_all_nodes_and_no_cache_keeps_a_page() {
    let (node, other) = two_nodes();
    let mut client = signed_in(&node, "ada").await;
    let mut elsewhere = Client::with_id(&other.app, &client.id());
    assert_eq!(elsewhere.post("/add").await.body, "2");
    for answer in [elsewhere.get("/look").await, elsewhere.get("/sessions").await] {
        assert_eq!(
            answer.header(header::CACHE_CONTROL),
            Some("no-store"),
            "so back shows nothing"
        );
    }
    let answer = client.post("/logout").await;
    assert!(answer.set_cookie().unwrap().contains("Max-Age=0"));
    assert_eq!(answer.header(header::CACHE_CONTROL), Some("no-store"));

    until(async || elsewhere.get("/look").await.body == "none").await;
    assert_eq!(elsewhere.get("/sessions").await.status, 401);
    assert!(other.sessions.list().is_empty() && node.sessions.list().is_empty());
}

#[tokio::test]
async fn line_24_one_session_a_users_all_but_mine_and_everyones_can_be_revoked() {
    let (node, other) = two_nodes();
    let phone = signed_in(&node, "ada").await;
    let laptop = signed_in(&node, "ada").await;
    let tablet = signed_in(&other, "ada").await;
    let bob = signed_in(&node, "bob").await;
    let guest = {
        let mut guest = Client::new(&other.app);
        guest.post("/add").await;
        guest
    };

    assert!(node.records.delete(&phone.id()).await.unwrap());
    assert!(!is_signed_in(&node, &phone).await);
    assert!(is_signed_in(&node, &laptop).await && is_signed_in(&other, &tablet).await);

    assert_eq!(
        node.records.delete_all_but(&user("ada"), &laptop.id()).await.unwrap(),
        1
    );
    assert!(is_signed_in(&node, &laptop).await && is_signed_in(&node, &bob).await);
    until(async || !is_signed_in(&other, &tablet).await).await;

    assert_eq!(other.records.delete_all(&user("ada")).await.unwrap(), 1);
    until(async || !is_signed_in(&node, &laptop).await).await;
    assert!(is_signed_in(&node, &bob).await);

    assert_eq!(node.records.delete_all(&Owner::Everyone).await.unwrap(), 2);
    assert!(!is_signed_in(&node, &bob).await);
    until(async || !is_signed_in(&other, &guest).await).await;
}

/// The handler works on while the session is ended, and its state is to be saved afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn line_24_a_write_under_way_does_not_resurrect() {
    for _ in 0..20 {
        let store = Arc::new(MemoryStore::new());
        let (node, other) = (Node::over(store.clone()), Node::over(store.clone()));
        let client = signed_in(&node, "ada").await;
        let id = client.id();
        let writers: Vec<_> = [&node, &node, &other, &other]
            .into_iter()
            .map(|node| {
                let mut client = Client::with_id(&node.app, &id);
                tokio::spawn(async move {
                    // Until it is told that there is no such session any more, and would begin another.
                    while client.post("/add").await.set_cookie().is_none() {}
                    client.id()
                })
            })
            .collect();
        let version = async || node.records.get_fresh(&id).await.unwrap().unwrap().version();
        let before = version().await;
        until(async || version().await != before).await;
        assert_eq!(other.records.delete_all(&user("ada")).await.unwrap(), 1);
        let mut fresh = Vec::new();
        for writer in writers {
            fresh.push(writer.await.unwrap());
        }
        assert!(!fresh.contains(&id), "under another id");
        assert!(other.records.get_fresh(&id).await.unwrap().is_none());
        assert!(node.records.get_fresh(&id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn line_25_a_user_lists_and_ends_sessions_by_handles_that_are_no_ids() {
    let (node, other) = two_nodes();
    let mut laptop = signed_in(&node, "ada").await;
    let phone = signed_in(&other, "ada").await;
    let bob = signed_in(&node, "bob").await;

    let listing = laptop.get("/sessions").await.body;
    for client in [&laptop, &phone, &bob] {
        assert!(!listing.contains(client.id().expose()));
    }
    let handle = RecordHandle::of(&phone.id());
    assert!(listing.contains(&handle.to_string()));
    assert!(
        !listing.contains(&RecordHandle::of(&bob.id()).to_string()),
        "own ones only"
    );

    // A handle is no cookie.
    let mut thief = Client::new(&node.app);
    thief.cookie = Some(format!("__Host-id={handle}"));
    assert_eq!(thief.get("/look").await.body, "none");

    let foreign = RecordHandle::of(&bob.id());
    assert!(!node.records.delete_listed(&user("ada"), foreign).await.unwrap());
    assert!(is_signed_in(&node, &bob).await);
    assert!(node.records.delete_listed(&user("ada"), handle).await.unwrap());
    until(async || !is_signed_in(&other, &phone).await).await;
    assert!(is_signed_in(&node, &laptop).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn line_26_a_users_sessions_are_limited_exactly_also_by_logins_at_once_on_two_nodes() {
    for policy in [OwnerLimitPolicy::Reject, OwnerLimitPolicy::EvictOldest] {
        let store = Arc::new(MemoryStore::new());
        let limit = OwnerLimit {
            max: NonZeroU32::new(3).unwrap(),
            policy,
        };
        let node = || Node::with(store.clone(), |records| records.sessions_per_user(limit), |layer| layer);
        let nodes = [node(), node()];
        let logins: Vec<_> = (0..20)
            .map(|nth| {
                let mut client = Client::new(&nodes[nth % 2].app);
                tokio::spawn(async move { client.post("/login/ada").await.body.is_empty() })
            })
            .collect();
        let mut signed_in = 0;
        for login in logins {
            signed_in += usize::from(login.await.unwrap());
        }
        let expected = if policy == OwnerLimitPolicy::Reject { 3 } else { 20 };
        assert_eq!(signed_in, expected, "{policy:?}");
        let list = nodes[0].records.list(&user("ada"), None, 100).await.unwrap();
        assert_eq!(list.len(), 3, "{policy:?}");
    }
}
