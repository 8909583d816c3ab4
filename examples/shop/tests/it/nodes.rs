//! Two shops on one PostgreSQL, each a process of its own.

use std::{
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::postgres::{Database, Server};

use crate::running::{Client, Program};

/// A database, which goes at the end of the test.
struct Shared {
    url: String,
    _database: Database,
    _server: Server,
}

impl Shared {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let server = Server::shared().await;
            let database = server.database().await;
            Self {
                url: database.url(),
                _database: database,
                _server: server,
            }
        })
    }

    fn node(&self) -> Program {
        Program::with(&["--store", &self.url])
    }
}

/// What one node did is seen by the other in a moment; nextest ends a wait for what never comes.
fn until(mut done: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

#[test]
fn what_is_done_at_one_node_is_seen_at_the_other() {
    let shared = Shared::new();
    let (one, two) = (shared.node(), shared.node());
    let mut here = Client::new(&one.url, "");
    here.add("mug").unwrap();
    let mut there = Client::new(&two.url, &here.cookie);
    assert_eq!(there.get("/api/cart").1["items"], json!(["mug"]));
    // Both have a process of the session by now.
    here.add("tea").unwrap();
    until(|| there.get("/api/cart").1["items"] == json!(["mug", "tea"]));
    there.add("bowl").unwrap();
    until(|| here.get("/api/cart").1["count"] == 3);

    // Sign in at one: the old id is unknown everywhere, and the new one is signed in everywhere.
    let old = here.cookie.clone();
    assert_eq!(here.post("/api/login", r#"{"name": "Ada"}"#).0, 200);
    until(|| Client::new(&two.url, &old).get("/api/cart").1["count"] == 0);
    there.cookie.clone_from(&here.cookie);
    let cart = there.get("/api/cart").1;
    assert_eq!((&cart["user"], &cart["count"]), (&json!("Ada"), &json!(3)));

    // And sign out everywhere else.
    let mut phone = Client::new(&two.url, "");
    assert_eq!(phone.post("/api/login", r#"{"name": "Ada"}"#).0, 200);
    assert_eq!(phone.get("/api/sessions").1["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(here.delete("/api/sessions/others"), (200, json!({ "ended": 1 })));
    let took = until(|| phone.get("/api/sessions").0 == 401);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(Client::new(&one.url, &phone.cookie).get("/api/sessions").0, 401);
    assert_eq!(there.get("/api/sessions").1["sessions"].as_array().unwrap().len(), 1);
}

/// The same session at both nodes at once: the loser of a race is told to repeat, and nothing is lost or done twice.
#[test]
fn clicks_at_both_nodes_add_up() {
    const CLICKS: usize = 40;
    let shared = Shared::new();
    let (one, two) = (shared.node(), shared.node());
    let mut client = Client::new(&one.url, "");
    client.add("mug").unwrap();
    let tabs = [&one.url, &two.url].map(|url| {
        let mut tab = Client::new(url, &client.cookie);
        thread::spawn(move || {
            for _ in 0..CLICKS {
                tab.add("tea").unwrap();
            }
        })
    });
    for tab in tabs {
        tab.join().unwrap();
    }
    for node in [&one, &two] {
        until(|| Client::new(&node.url, &client.cookie).get("/api/cart").1["count"] == 1 + 2 * CLICKS);
    }
}

#[test]
fn a_node_that_is_killed_under_load_loses_nothing_that_it_has_answered() {
    const VISITORS: usize = 8;
    let shared = Shared::new();
    let (one, two) = (shared.node(), shared.node());
    let (answered, answers) = mpsc::channel();
    let visitors: Vec<_> = (0..VISITORS)
        .map(|_| {
            let (url, answered) = (one.url.clone(), answered.clone());
            thread::spawn(move || {
                let mut client = Client::new(&url, "");
                let mut count = 0;
                loop {
                    // The cart is full at 99: then begin another one.
                    if count == 90 {
                        (client.cookie, count) = (String::new(), 0);
                    }
                    match client.add("mug") {
                        Ok(cart) => count = cart["count"].as_u64().unwrap(),
                        Err(_) => return (client.cookie, count),
                    }
                    let _ = answered.send(());
                }
            })
        })
        .collect();
    // In the midst of it.
    for _ in 0..200 {
        answers.recv().unwrap();
    }
    one.kill();
    for visitor in visitors {
        let (cookie, count) = visitor.join().unwrap();
        if cookie.is_empty() {
            continue;
        }
        let mut client = Client::new(&two.url, &cookie);
        let found = client.get("/api/cart").1["count"].as_u64().unwrap();
        // The one that was on its way may have arrived.
        assert!(
            found == count || found == count + 1,
            "{found}, and {count} were answered"
        );
        assert_eq!(client.add("tea").unwrap()["count"], found + 1);
    }
}

#[test]
fn a_database_that_is_not_there_is_an_error_without_its_password() {
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["--port", "0", "--store", "postgres://ada:verysecret@127.0.0.1:1/shop"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("can't be reached") && !said.contains("verysecret"),
        "{said}"
    );
}

/// A node that can't reach the database says "not now", and never "no session".
#[test]
fn without_its_database_the_shop_answers_503() {
    let shared = Shared::new();
    let node = shared.node();
    let mut client = Client::new(&node.url, "");
    client.add("mug").unwrap();
    let cookie = client.cookie.clone();
    let mut balancer = Client::new(&node.url, "");
    let (status, health) = balancer.get("/health");
    assert_eq!((status, &health["sessions"]), (200, &json!("ok")));
    assert_eq!(
        (&health["database"]["state"], &health["cache"]["state"]),
        (&json!("connected"), &json!("listening"))
    );
    drop(shared);
    let status = |client: &mut Client| client.post("/api/cart", r#"{"item": "tea"}"#).0;
    until(|| status(&mut client) == 503);
    let mut other = Client::new(&node.url, "id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(other.get("/api/cart"), (503, other.get("/api/cart").1));
    assert_ne!(other.get("/api/cart").1, Value::Null);
    assert_eq!(client.cookie, cookie, "the cookie stays");
    until(|| balancer.get("/health").0 == 503);
    let health = balancer.get("/health").1;
    assert_eq!(
        (&health["database"]["state"], &health["cache"]["state"]),
        (&json!("away"), &json!("suspect"))
    );
    // `invalid_catalog_name`: there is no such database.
    assert_eq!(health["database"]["last_error"]["sqlstate"], "3D000");
    assert_eq!(balancer.cookie, "", "it is no visitor");
}
