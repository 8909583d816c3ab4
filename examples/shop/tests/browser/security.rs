//! What a page may not see, and what pages of others may not do.

use axum::{Router, response::Html, routing::get};
use tokio::net::TcpListener;

use crate::{driver::Driver, shops};

#[tokio::test(flavor = "multi_thread")]
async fn line_9_scripts_do_not_see_the_cookie() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    assert_eq!(browser.eval("document.cookie").await, "");
    let cookies = browser.client.get_all_cookies().await.unwrap();
    assert_eq!(cookies.len(), 1, "it is there");
    assert_eq!(cookies[0].http_only(), Some(true));
}

/// Connects and acts in every way there is, and says how each went.
const EVIL: &str = r#"<!doctype html><title>evil</title><script type="module">
const at = new URL(location).searchParams.get("at");
const went = {};
const tries = {
  stream: () => fetch(at + "/live", { credentials: "include" }).then((answer) => "read " + answer.status),
  source: () => new Promise((done) => {
    const source = new EventSource(at + "/live", { withCredentials: true });
    source.onopen = () => done("open");
    source.onerror = () => { source.close(); done("refused"); };
  }),
  socket: () => new Promise((done) => {
    const socket = new WebSocket(at.replace("http", "ws") + "/live", "session-process.live.v1");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  }),
  send: () => fetch(at + "/live", { method: "POST", mode: "no-cors", credentials: "include",
    body: '{"t":"send","name":"preferences.gift_wrap","data":true}' }).then((answer) => answer.type),
  act: () => fetch(at + "/api/cart", { method: "POST", mode: "no-cors", credentials: "include", body: '{"item":"mug"}' })
    .then((answer) => answer.type),
};
for (const [name, work] of Object.entries(tries)) went[name] = await work().catch(() => "refused");
window.went = went;
</script>"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_can_neither_connect_nor_act() {
    let (driver, shop) = (Driver::start(), shops::running().await);
    let browser = driver.browser().await;
    browser.open(&shop.url).await;
    browser.click("[data-add]").await;
    browser.count(1).await;
    let id = shop.shop.sessions().list().pop().unwrap();
    let before = shop.shop.sessions().state(&id).await.unwrap();
    browser.open("about:blank").await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let evil = Router::new().route("/", get(|| async { Html(EVIL) }));
    tokio::spawn(async move { axum::serve(listener, evil).await });
    // Another site by its name; and one that is next door, to whose requests the browser gives the cookie.
    for host in ["localhost", "127.0.0.1"] {
        browser.open(&format!("http://{host}:{port}/?at={}", shop.url)).await;
        browser.until("window.went").await;
        let went = browser.eval("window.went").await;
        for way in ["stream", "source", "socket"] {
            assert_eq!(went[way], "refused", "{host}: {went}");
        }
    }
    assert_eq!(shop.shop.pages().open_in_all(), 0);
    let after = shop.shop.sessions().state(&id).await.unwrap();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(shop.shop.sessions().list().len(), 1);
}
