//! JSON under `/api`.

use axum::http::{Request, header};
use serde_json::json;
use session_process::{Sessions, records::SessionRecords, store::MemoryStore};
use shop::{Shop, app};

use crate::support::{Browser, shop};

#[tokio::test]
async fn looking_begins_no_session() {
    let (shop, app) = shop();
    for path in [
        "/",
        "/sessions",
        "/api/cart",
        "/api/sessions",
        "/api/catalogue",
        "/app.js",
        "/app.css",
    ] {
        let mut browser = Browser::new(&app);
        browser.get(path).await;
        assert_eq!(browser.cookie, None, "{path}");
    }
    let cart = Browser::new(&app).get("/api/cart").await.json();
    assert_eq!((&cart["items"], &cart["count"]), (&json!([]), &json!(0)));
    assert_eq!(shop.sessions().stats().started, 0);
}

#[tokio::test]
async fn what_is_added_is_in_the_cart_until_it_is_removed() {
    let (_shop, app) = shop();
    let mut browser = Browser::new(&app);
    let cart = browser.add("mug").await.json();
    assert_eq!((&cart["items"], &cart["count"]), (&json!(["mug"]), &json!(1)));
    browser.add("tea").await;
    let cart = browser.add("mug").await.json();
    assert_eq!(cart["items"], json!(["mug", "tea", "mug"]));
    assert_eq!(cart["total_cents"], 1_850 * 2 + 1_290);

    let cart = browser.delete("/api/cart/mug").await.json();
    assert_eq!(cart["items"], json!(["mug", "tea"]));
    assert_eq!(browser.get("/api/cart").await.json(), cart);

    let answer = browser.delete("/api/cart/lamp").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (404, &json!("not_in_cart"))
    );
}

#[tokio::test]
async fn browsers_have_a_cart_each_and_tabs_share_one() {
    let (_shop, app) = shop();
    let mut one = Browser::new(&app);
    one.add("mug").await;
    let mut tab = Browser::with_cookie(&app, one.cookie.as_deref().unwrap());
    tab.add("tea").await;
    let mut other = Browser::new(&app);
    other.add("lamp").await;
    assert_eq!(one.get("/api/cart").await.json()["items"], json!(["mug", "tea"]));
    assert_eq!(other.get("/api/cart").await.json()["items"], json!(["lamp"]));
}

#[tokio::test]
async fn a_cart_has_an_end() {
    let (_shop, app) = shop();
    let mut browser = Browser::new(&app);
    for _ in 0..99 {
        assert_eq!(browser.add("mug").await.status, 200);
    }
    let answer = browser.add("mug").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (409, &json!("cart_full"))
    );
}

#[tokio::test]
async fn bad_input_is_answered_in_json() {
    let (shop, app) = shop();
    let mut browser = Browser::new(&app);
    let long = format!(r#"{{"item": "{}"}}"#, "x".repeat(20_000));
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("{}", 422),
        ("[]", 422),
        (r#"{"item": 1}"#, 422),
        (r#"{"item": "yacht"}"#, 404),
        (&long, 413),
    ] {
        let answer = browser.post("/api/cart", body).await;
        assert_eq!(answer.status, status, "{body:.30}");
        assert!(answer.json()["error"].is_string() && answer.json()["message"].is_string());
    }
    let answer = browser.send(Request::post("/api/cart"), r#"{"item": "mug"}"#).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (415, &json!("bad_request"))
    );
    for (path, status) in [("/api/nowhere", 404), ("/api/login", 405)] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        answer.json();
    }
    for path in ["/api/cart/yacht", "/api/cart/%ff"] {
        assert_eq!(browser.delete(path).await.json()["error"], "unknown_item", "{path}");
    }
    assert_eq!(browser.cookie, None);
    assert_eq!(shop.sessions().stats().started, 0);
}

#[tokio::test]
async fn a_login_rotates_the_id_and_keeps_the_cart() {
    let (shop, app) = shop();
    let mut browser = Browser::new(&app);
    browser.add("mug").await;
    let old = browser.cookie.clone().unwrap();

    let answer = browser.login("  Ada  ").await.json();
    assert_eq!((&answer["user"], &answer["items"]), (&json!("Ada"), &json!(["mug"])));
    assert_ne!(browser.cookie.as_deref(), Some(old.as_str()));
    let cart = Browser::with_cookie(&app, &old).get("/api/cart").await.json();
    assert_eq!(cart["count"], 0);
    assert_eq!(shop.sessions().stats().sessions, 1);
}

#[tokio::test]
async fn a_name_is_checked() {
    let (_shop, app) = shop();
    let long = "é".repeat(41);
    for name in ["", "   ", &long, "a\nb", "a\u{0}"] {
        let answer = Browser::new(&app).login(name).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (422, &json!("bad_name"))
        );
    }
    assert_eq!(Browser::new(&app).login(&"é".repeat(40)).await.status, 200);
}

#[tokio::test]
async fn another_user_does_not_get_the_cart() {
    let (_shop, app) = shop();
    let mut browser = Browser::new(&app);
    browser.login("Ada").await;
    browser.add("mug").await;
    assert_eq!(browser.login("Ada").await.json()["count"], 1);
    assert_eq!(browser.login("Grace").await.json()["count"], 0);
}

#[tokio::test]
async fn a_logout_ends_the_session() {
    let (shop, app) = shop();
    let mut browser = Browser::new(&app);
    browser.login("Ada").await;
    let old = browser.cookie.clone().unwrap();
    let answer = browser.post("/api/logout", "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.headers[header::SET_COOKIE],
        "id=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    );
    assert_eq!(shop.sessions().stats().sessions, 0);
    assert_eq!(Browser::with_cookie(&app, &old).get("/api/sessions").await.status, 401);
}

#[tokio::test]
async fn a_user_lists_own_sessions_by_handles_and_ends_them() {
    let (_shop, app) = shop();
    let mut laptop = Browser::new(&app);
    let mut phone = Browser::new(&app);
    let mut stranger = Browser::new(&app);
    laptop.login("Ada").await;
    laptop.login("Ada").await;
    phone.login("Ada").await;
    stranger.login("Grace").await;

    let answer = laptop.get("/api/sessions").await;
    for browser in [&laptop, &phone, &stranger] {
        let (_, id) = browser.cookie.as_deref().unwrap().split_once('=').unwrap();
        assert!(!answer.text.contains(id));
    }
    let list = answer.json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!((&list["user"], sessions.len()), (&json!("Ada"), 2));
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    assert!(
        sessions
            .iter()
            .all(|session| session["started"].as_u64() <= session["last_used"].as_u64())
    );

    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    let path = format!("/api/sessions/{}", other["handle"].as_str().unwrap());
    assert_eq!(stranger.delete(&path).await.status, 404);
    assert_eq!(laptop.delete(&path).await.status, 204);
    assert_eq!(laptop.delete(&path).await.status, 404);
    assert_eq!(phone.get("/api/sessions").await.status, 401);
    let list = laptop.get("/api/sessions").await.json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn devices_are_listed_with_their_times_and_all_others_are_signed_out() {
    let (shop, app) = shop();
    let mut laptop = Browser::new(&app);
    let mut phone = Browser::new(&app);
    let mut stranger = Browser::new(&app);
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let login = Request::post("/api/login")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, agent);
    laptop.send(login, r#"{"name": "Ada"}"#).await;
    phone.login("Ada").await;
    phone.add("mug").await;
    stranger.login("Grace").await;
    assert_eq!(Browser::new(&app).delete("/api/sessions/others").await.status, 401);

    let list = laptop.get("/api/sessions").await.json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    for session in sessions {
        let device = if session["current"] == true {
            "Firefox on Linux"
        } else {
            "Unknown device"
        };
        assert_eq!(session["device"], device);
        assert!(session["started"].as_i64().unwrap() > 1_600_000_000);
    }

    let (_, id) = phone.cookie.as_deref().unwrap().split_once('=').unwrap();
    let mut monitor = shop.sessions().monitor(&id.parse().unwrap()).unwrap();
    let answer = laptop.delete("/api/sessions/others").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "ended": 1 })));
    monitor.ended().await;
    assert_eq!(phone.get("/api/cart").await.json()["count"], 0);
    assert_eq!(phone.get("/api/sessions").await.status, 401);
    assert_eq!(laptop.get("/api/sessions").await.status, 200);
    assert_eq!(stranger.get("/api/sessions").await.status, 200);
    assert_eq!(
        laptop.delete("/api/sessions/others").await.json(),
        json!({ "ended": 0 })
    );
}

#[tokio::test]
async fn the_page_of_ones_sessions_can_end_the_others() {
    let (_shop, app) = shop();
    let page = Browser::new(&app).get("/sessions").await;
    assert!(page.text.contains(r#"id="end-others""#));
}

#[tokio::test]
async fn an_expired_session_is_not_listed() {
    let clock = session_process::ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let records = SessionRecords::builder(store).clock(clock.clone()).build().unwrap();
    let shop = Shop::with_records(Sessions::builder().clock(clock.clone()), records).unwrap();
    let app = app(&shop);
    let mut gone = Browser::new(&app);
    gone.login("Ada").await;
    clock.advance(std::time::Duration::from_secs(3601));
    let mut here = Browser::new(&app);
    here.login("Ada").await;
    let list = here.get("/api/sessions").await.json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(gone.get("/api/sessions").await.status, 401);
}

#[tokio::test]
async fn other_sites_may_not_change_anything() {
    let (shop, app) = shop();
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let request = Request::post("/api/cart")
            .header(name, value)
            .header(header::HOST, "shop.example")
            .header(header::CONTENT_TYPE, "application/json");
        let answer = Browser::new(&app).send(request, r#"{"item": "mug"}"#).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (403, &json!("cross_site"))
        );
    }
    assert_eq!(shop.sessions().stats().started, 0);
}

#[tokio::test]
async fn a_full_server_says_so_in_json() {
    let shop = Shop::new(Sessions::builder().max_sessions(1)).unwrap();
    let app = app(&shop);
    Browser::new(&app).add("mug").await;
    let answer = Browser::new(&app).add("mug").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (503, &json!("session"))
    );
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
}
