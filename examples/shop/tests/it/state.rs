//! The three styles of state, as a browser meets them.

use serde_json::{Value, json};
use session_process::Sessions;
use shop::{Shop, app};

use crate::support::{Browser, shop};

#[tokio::test]
async fn preferences_come_by_name_and_nothing_else_does() {
    let (_shop, app) = shop();
    let mut browser = Browser::new(&app);
    let wrap = json!({ "name": "preferences.gift_wrap", "payload": true }).to_string();
    assert_eq!(browser.post("/api/actions", &wrap).await.json()["gift_wrap"], true);
    for (name, payload, status, word) in [
        ("preferences.gift_wrap", json!("yes"), 422, "bad_payload"),
        ("preferences.colour", json!(1), 404, "unknown_action"),
        ("cart.add", json!("mug"), 404, "unknown_action"),
        ("account.sign_in", json!({ "name": "Ada" }), 404, "unknown_action"),
    ] {
        let body = json!({ "name": name, "payload": payload }).to_string();
        let answer = browser.post("/api/actions", &body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (status, &json!(word)),
            "{name}"
        );
    }
    assert_eq!(browser.get("/api/cart").await.json()["user"], Value::Null);
}

#[tokio::test]
async fn the_house_counts_what_is_taken_and_tells_everybody() {
    let (_shop, app) = shop();
    let mut one = Browser::new(&app);
    assert_eq!(
        one.get("/api/news").await.json(),
        json!({ "taken": {}, "just_taken": null })
    );
    one.add("mug").await;
    Browser::new(&app).add("mug").await;
    one.add("tea").await;
    // By effects, which are not waited for.
    let told = json!({ "taken": { "mug": 2, "tea": 1 }, "just_taken": "tea" });
    while one.get("/api/news").await.json() != told {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_developer_sees_what_happened_and_travels_in_time() {
    let shop = Shop::new(Sessions::builder()).unwrap().with_developer_page();
    let app = app(&shop);
    let mut browser = Browser::new(&app);
    assert_eq!(browser.get("/api/developer").await.json(), Value::Null);
    let page = browser.get("/developer").await;
    assert!(page.status == 200 && page.text.contains("id=\"slider\"") && !page.text.contains("style="));
    assert_eq!(shop.sessions().stats().started, 0, "looking begins no session");

    browser.add("mug").await;
    browser.add("tea").await;
    browser.login("Ada").await;
    let timeline = browser.get("/api/developer").await.json();
    assert_eq!(
        (&timeline["position"], timeline["moments"].as_array().unwrap().len()),
        (&json!(3), 4)
    );
    let second = &timeline["moments"][2];
    assert_eq!(second["cause"], json!({ "action": { "cart": { "add": "tea" } } }));
    assert_eq!(second["changes"], json!([{ "path": "/cart/items/1", "after": "tea" }]));
    let (_, id) = browser.cookie.as_deref().unwrap().split_once('=').unwrap();
    assert!(!timeline.to_string().contains(id));

    let travel = |position: u64| json!({ "position": position }).to_string();
    assert_eq!(browser.post("/api/developer/travel", &travel(1)).await.status, 204);
    assert_eq!(browser.get("/api/cart").await.json()["items"], json!(["mug"]));
    let far = browser.post("/api/developer/travel", &travel(9)).await;
    assert_eq!(
        (far.status.as_u16(), &far.json()["error"]),
        (409, &json!("out_of_range"))
    );
    browser.post("/api/developer/travel", &travel(3)).await;
    assert_eq!(browser.get("/api/cart").await.json()["user"], "Ada");
}

#[tokio::test]
async fn without_the_flag_there_is_no_developer_page() {
    let (_shop, app) = shop();
    for path in ["/developer", "/developer.js", "/api/developer"] {
        assert_eq!(Browser::new(&app).get(path).await.status, 404, "{path}");
    }
}
