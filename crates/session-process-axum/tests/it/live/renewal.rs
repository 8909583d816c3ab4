//! Pages of a session whose id is renewed by age, or changed on another node.

use std::sync::Arc;

use session_process::store::{MemoryStore, SessionStore};

use super::*;
use crate::durable::{Ledger, Run};

const EVERY: Duration = Duration::from_secs(50);
const OVERLAP: Duration = Duration::from_secs(10);

/// A site that renews ids; sessions of these tests idle out after a minute.
fn renewing() -> Site {
    let mut site = Site::new();
    let layer = SessionLayer::new(site.sessions.clone())
        .with_renewal(EVERY, OVERLAP)
        .unwrap();
    site.app = routes().merge(site.live.routes("/live")).layer(layer);
    site
}

#[tokio::test(start_paused = true)]
async fn line_17_and_18_a_renewal_moves_all_pages_and_they_come_back_with_the_new_cookie_or_the_old() {
    let site = renewing();
    let mut client = site.visitor().await;
    let mut tabs = [site.open(&client).await, site.open(&client).await];
    for tab in &mut tabs {
        tab.greeted().await;
    }
    let old = Client::with_id(&site.app, &client.id());
    site.clock.advance(EVERY);
    client.post("/add/1").await;
    assert_ne!(client.cookie, old.cookie);
    for tab in &mut tabs {
        let told = tab.frame("reconnect").await;
        assert_eq!((&told["reason"], &told["after_ms"]), (&json!("moved"), &json!(500)));
        assert_eq!(tab.any().await, None);
    }
    let mut page = site.open(&client).await;
    assert_eq!(page.greeted().await, total(2));
    assert_eq!(page.header("set-cookie"), None);
    // One that was faster than the cookie.
    let mut page = site.open(&old).await;
    let cookie = page.header("set-cookie").unwrap().to_owned();
    assert!(cookie.starts_with(client.cookie.as_deref().unwrap()));
    assert_eq!(page.greeted().await, total(2));
    client.post("/add/1").await;
    assert_eq!(page.frame("state").await["data"], total(3), "it is the same session");
    site.clock.advance(OVERLAP);
    assert_eq!(site.open(&old).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn line_18_what_a_page_itself_asks_for_renews_and_is_told_the_new_id() {
    let site = renewing();
    let client = site.visitor().await;
    site.clock.advance(EVERY);
    let mut page = site.open(&client).await;
    let (new, _) = page.header("set-cookie").unwrap().split_once(';').unwrap();
    let mut client = Client::new(&site.app);
    client.cookie = Some(new.to_owned());
    assert_eq!(page.greeted().await, total(1), "the stream itself is of the new id");
    client.post("/add/1").await;
    assert_eq!(page.frame("state").await["data"], total(2));

    site.clock.advance(EVERY);
    let request = Request::post("/live")
        .header("cookie", client.cookie.as_deref().unwrap())
        .header("content-type", "application/json")
        .body(Body::from(r#"{"t":"send","name":"add","data":1}"#))
        .unwrap();
    let answer = crate::support::send(&site.app, request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.set_cookie().is_some());
    assert!(answer.body.contains("\"data\":3"), "it was handled: {}", answer.body);
    assert_eq!(page.frame("reconnect").await["reason"], "moved");
}

#[tokio::test(start_paused = true)]
async fn line_21_an_open_page_alone_renews_nothing() {
    let site = renewing();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    site.clock.advance(EVERY);
    for _ in 0..10 {
        let frame = page.any().await.unwrap();
        assert!(frame["t"] == "ping" || frame["t"] == "expiring", "{frame}");
    }
    assert_eq!(site.sessions.list(), [client.id()]);
}

/// Its browser has one cookie for both nodes: whichever renewed the id.
#[tokio::test]
async fn line_17_pages_on_other_nodes_are_told_to_come_back_and_not_that_their_session_is_over() {
    let store = Arc::new(MemoryStore::new()) as Arc<dyn SessionStore>;
    let (here, there) = (Run::over(Arc::clone(&store)), Run::over(store));
    let room = id("room");
    here.sessions.start(&room).await.unwrap();
    let live = Live::new(&there.sessions, |ledger: &Ledger| ledger.sum);
    let app = live.routes("/live").layer(SessionLayer::new(there.sessions.clone()));
    let mut page = Page::open(&app, &Client::with_id(&app, &room)).await;
    page.greeted().await;
    let moved = here.sessions.rotate(&room).await.unwrap();
    here.sessions.call(&moved, crate::durable::Add(5)).await.unwrap();
    assert_eq!(page.frame("reconnect").await["reason"], "moved");
    assert_eq!(page.any().await, None);
    let dead = Page::open(&app, &Client::with_id(&app, &room)).await;
    assert_eq!(dead.status(), StatusCode::UNAUTHORIZED);
    let mut page = Page::open(&app, &Client::with_id(&app, &moved)).await;
    assert_eq!(page.greeted().await, 5);
}
