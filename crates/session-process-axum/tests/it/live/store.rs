//! Pages of sessions that are in a store: it may be away, and other nodes may end them.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Instant,
};

use session_process::store::SessionStore;

use super::*;
use crate::durable::{Add, Fickle, Ledger, Run};

fn app(run: &Run) -> Router {
    let live = Live::new(&run.sessions, |ledger: &Ledger| ledger.sum);
    live.routes("/live").layer(SessionLayer::new(run.sessions.clone()))
}

/// Another program over the store, and a session that an earlier one has left there.
async fn left_behind() -> (Arc<Fickle>, Run, SessionId) {
    let store = Arc::new(Fickle::default());
    let (before, room) = (Run::over(Arc::clone(&store) as Arc<dyn SessionStore>), id("room"));
    before.sessions.start(&room).await.unwrap();
    before.sessions.call(&room, Add(3)).await.unwrap();
    let run = Run::over(Arc::clone(&store) as Arc<dyn SessionStore>);
    (store, run, room)
}

#[tokio::test]
async fn while_the_store_is_away_a_page_is_told_to_come_back_and_then_it_is_there() {
    let (store, run, room) = left_behind().await;
    let app = app(&run);
    let client = Client::with_id(&app, &room);
    store.away.store(true, SeqCst);
    for _ in 0..3 {
        let page = Page::open(&app, &client).await;
        assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE, "never 401");
        assert!(page.header("retry-after").is_some());
        assert!(page.header("set-cookie").is_none());
    }
    store.away.store(false, SeqCst);
    let mut page = Page::open(&app, &client).await;
    assert_eq!(page.greeted().await, 3, "woken");
    // A change that can't be saved is shown to nobody. And what the store has by now is not known: it is to be asked.
    store.away.store(true, SeqCst);
    run.sessions.call(&room, Add(1)).await.unwrap_err();
    assert_eq!(page.frame("reconnect").await["reason"], "moved");
    store.away.store(false, SeqCst);
    let mut page = Page::open(&app, &client).await;
    assert_eq!(page.greeted().await, 3);
    run.sessions.call(&room, Add(5)).await.unwrap();
    assert_eq!(page.frame("state").await["data"], 8);
}

#[tokio::test]
async fn line_35_a_session_that_another_node_ends_closes_its_pages_here_within_a_second() {
    let (store, here, room) = left_behind().await;
    let there = Run::over(store as Arc<dyn SessionStore>);
    let app = app(&here);
    let mut page = Page::open(&app, &Client::with_id(&app, &room)).await;
    page.greeted().await;
    let ended = Instant::now();
    assert!(there.records.delete(&room).await.unwrap());
    assert_eq!(page.frame("session_expired").await["reason"], "revoked");
    assert!(ended.elapsed() < SECOND, "{:?}", ended.elapsed());
    assert_eq!(page.any().await, None);
    let again = Page::open(&app, &Client::with_id(&app, &room)).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
}
