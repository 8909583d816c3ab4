//! The program itself, over real connections.

use std::{
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::running::{Client, Program};

#[test]
fn visitors_share_nothing_and_tabs_share_all() {
    let program = Program::start();
    let mut one = Client::new(&program.url, "");
    assert_eq!(one.post("/api/cart", r#"{"item": "mug"}"#).1["count"], 1);
    let mut tab = Client::new(&program.url, &one.cookie);
    assert_eq!(
        tab.post("/api/cart", r#"{"item": "tea"}"#).1["items"],
        json!(["mug", "tea"])
    );
    let mut other = Client::new(&program.url, "");
    assert_eq!(other.get("/api/cart").1["count"], 0);
    assert_eq!(other.post("/api/cart", r#"{"item": "lamp"}"#).1["count"], 1);
    assert_eq!(one.get("/api/cart").1["count"], 2);

    let old = one.cookie.clone();
    assert_eq!(one.post("/api/login", r#"{"name": "Ada"}"#).0, 200);
    assert_ne!(one.cookie, old);
    assert_eq!(tab.get("/api/cart").1["count"], 0);
    let (status, list) = one.get("/api/sessions");
    assert_eq!((status, list["sessions"].as_array().unwrap().len()), (200, 1));
    assert_eq!(other.get("/api/sessions").0, 401);
    assert_eq!(one.post("/api/cart", "{").0, 400);

    let signed_in = one.cookie.clone();
    assert_eq!(one.post("/api/logout", "").0, 204);
    assert_eq!(one.cookie, "id=");
    assert_eq!(Client::new(&program.url, &signed_in).get("/api/cart").1["count"], 0);
}

#[test]
fn a_cart_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", dir.path().join("carts.db").display());
    let start = || Program::with(&["--store", &store]);

    let program = start();
    let mut laptop = Client::new(&program.url, "");
    laptop.post("/api/cart", r#"{"item": "mug"}"#);
    laptop.post("/api/cart", r#"{"item": "tea"}"#);
    assert_eq!(laptop.post("/api/login", r#"{"name": "Ada"}"#).0, 200);
    let wrap = r#"{"name": "preferences.gift_wrap", "payload": true}"#;
    let before = laptop.post("/api/actions", wrap).1;
    let mut phone = Client::new(&program.url, "");
    phone.post("/api/login", r#"{"name": "Ada"}"#);
    let (laptop, phone) = (laptop.cookie, phone.cookie);
    program.kill();

    let program = start();
    let mut again = Client::new(&program.url, &laptop);
    let (status, cart) = again.get("/api/cart");
    assert_eq!((status, &cart), (200, &before));
    assert_eq!((&cart["items"], &cart["user"]), (&json!(["mug", "tea"]), &json!("Ada")));
    assert_eq!(again.cookie, laptop, "the same session");
    let list = again.get("/api/sessions").1;
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(again.delete("/api/sessions/others"), (200, json!({ "ended": 1 })));
    program.kill();

    // And what was ended stays ended.
    let program = start();
    assert_eq!(Client::new(&program.url, &phone).get("/api/sessions").0, 401);
    let list = Client::new(&program.url, &laptop).get("/api/sessions").1;
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_cart_survives_an_orderly_restart_in_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let arguments = ["--data", data.to_str().unwrap()];
    let program = Program::with(&arguments);
    let mut client = Client::new(&program.url, "");
    client.post("/api/cart", r#"{"item": "mug"}"#);
    let (status, words, _) = program.stop();
    assert_eq!(status, Some(0));
    assert!(
        words.contains("sessions are in ") && words.contains("shop.db"),
        "{words}"
    );
    assert!(data.join("shop.db").is_file());

    let program = Program::with(&arguments);
    assert_eq!(Client::new(&program.url, &client.cookie).get("/api/cart").1["count"], 1);
}

#[test]
fn a_signal_ends_it_in_order_also_with_open_connections() {
    let program = Program::start();
    let mut client = Client::new(&program.url, "");
    client.post("/api/cart", r#"{"item": "mug"}"#);
    // Says nothing, and stays.
    let silent = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).unwrap();

    let asked = Instant::now();
    let (status, words, log) = program.stop();
    assert_eq!(status, Some(0));
    assert!(words.contains("stopped: 1 session ended, 0 cut off"), "{words}");
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "one, of cookies on plain http: {log}");
    assert!(asked.elapsed() < Duration::from_secs(10));
    drop(silent);
}

#[test]
fn help_is_printed_and_nonsense_refused() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_shop"))
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), said.concat())
    };
    let (status, text) = run(&["--help"]);
    assert!(status == Some(0) && text.contains("--port N") && text.contains("--store"));
    for (arguments, named) in [
        (
            &["--port", "many"] as &[_],
            "shop: --port: invalid digit found in string (`shop --help`",
        ),
        (&["--prot", "1"], "'--prot' (`shop --help`"),
        (&["extra"], "\"extra\" (`shop --help`"),
        (&["--store", "disk"], "shop: --store: a store is `memory`"),
        (&["--store", "sqlite:"], "shop: --store: a store is"),
        (&["--store", "postgres:secret"], "shop: --store: a store is"),
    ] {
        let (status, said) = run(arguments);
        assert_eq!(status, Some(1), "{arguments:?}");
        assert!(said.contains(named) && said.lines().count() == 1, "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
