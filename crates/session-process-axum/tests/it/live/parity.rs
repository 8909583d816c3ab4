//! The rows of the two systems, and of neither, that are about pages.

use std::sync::Arc;

use session_process::store::{Owner, OwnerText, SessionStore};

use super::*;
use crate::durable::{Add, Fickle, Ledger, Run};

/// Phoenix.SessionProcess: `:process_link`, `{:monitor, pid}`, `:session_expired`.
#[tokio::test(start_paused = true)]
async fn p8_pages_are_monitored_and_told_that_their_session_expired() {
    let site = Site::new();
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    let gone = site.open(&client).await;
    let monitors = || site.sessions.session_stats(&client.id()).unwrap().monitors;
    assert_eq!(monitors(), 2);
    drop(gone);
    assert_eq!(monitors(), 1, "a page that is dead is removed");
    page.greeted().await;
    // Better: the state is pushed too, and the reason told.
    client.post("/add/1").await;
    assert_eq!(page.frame("state").await["data"], total(2));
    site.clock.advance(SECOND * 60);
    site.sessions.expire_now().await;
    assert_eq!(page.frame("session_expired").await["reason"], "idle");
}

#[tokio::test]
async fn n5_state_is_pushed_to_open_pages_from_any_node_with_resume() {
    let store = Arc::new(Fickle::default());
    let node = || Run::over(Arc::clone(&store) as Arc<dyn SessionStore>);
    let (here, there, room) = (node(), node(), id("room"));
    here.sessions.start(&room).await.unwrap();
    here.sessions.call(&room, Add(1)).await.unwrap();
    let live = Live::new(&here.sessions, |ledger: &Ledger| ledger.sum);
    let app: Router = live.routes("/live").layer(SessionLayer::new(here.sessions.clone()));
    let client = Client::with_id(&app, &room);
    let mut page = Page::open(&app, &client).await;
    assert_eq!(page.greeted().await, 1);
    assert_eq!(there.sessions.call(&room, Add(1)).await.unwrap(), 2);
    assert_eq!(page.frame("state").await["data"], 2);
    let at = page.at.clone().unwrap();
    drop(page);
    let mut page = Page::back(&app, &client, &at).await;
    assert_eq!(page.frame("hello").await["resumed"], true);
}

#[tokio::test]
async fn n6_sign_out_everywhere_else_reaches_every_open_page_on_every_node() {
    let store = Arc::new(Fickle::default());
    let node = || Run::over(Arc::clone(&store) as Arc<dyn SessionStore>);
    let (here, there) = (node(), node());
    let mut pages = Vec::new();
    for (run, name) in [(&here, "one"), (&here, "two"), (&there, "three"), (&there, "four")] {
        let id = id(name);
        run.sessions.start(&id).await.unwrap();
        run.records.set_user(&id, Some("ann")).await.unwrap();
        let live = Live::new(&run.sessions, |ledger: &Ledger| ledger.sum);
        let app: Router = live.routes("/live").layer(SessionLayer::new(run.sessions.clone()));
        let mut page = Page::open(&app, &Client::with_id(&app, &id)).await;
        page.greeted().await;
        pages.push(page);
    }
    let ann = Owner::User(OwnerText::new("ann").unwrap());
    assert_eq!(here.records.delete_all_but(&ann, &id("one")).await.unwrap(), 3);
    for page in &mut pages[1..] {
        assert_eq!(page.frame("session_expired").await["reason"], "revoked");
    }
    assert_eq!(pages[0].waiting().await, Vec::<Value>::new());
}
