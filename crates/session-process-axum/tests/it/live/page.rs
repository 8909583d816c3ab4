//! What a page is told, and when.

use session_process::EndReason;

use super::*;
use crate::support::Hang;

#[tokio::test(start_paused = true)]
async fn a_page_sees_the_state_now_and_each_change() {
    let site = Site::new();
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    assert_eq!(page.header("content-type"), Some("text/event-stream"));
    assert_eq!(page.header("x-accel-buffering"), Some("no"));
    assert!(page.header("cache-control").unwrap().contains("no-store"));
    let hello = page.frame("hello").await;
    assert_eq!((&hello["v"], &hello["resumed"]), (&json!(1), &json!(false)));
    assert_eq!(hello["heartbeat_ms"], 15_000);
    assert_eq!(page.frame("state").await["data"], total(1));
    client.post("/add/2").await;
    assert_eq!(page.frame("state").await["data"], total(3));
    site.sessions.call(&client.id(), Add(4)).await.unwrap();
    assert_eq!(page.frame("state").await["data"], total(7), "from wherever it came");
    client.post("/add/0").await;
    assert_eq!(page.waiting().await, Vec::<Value>::new(), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn all_tabs_of_a_session_see_the_same_and_no_other_session_does() {
    let site = Site::new();
    let (mut client, mut other) = (site.visitor().await, site.visitor().await);
    let mut tabs = [site.open(&client).await, site.open(&client).await];
    let mut others = site.open(&other).await;
    others.greeted().await;
    for tab in &mut tabs {
        tab.greeted().await;
    }
    client.post("/add/9").await;
    for tab in &mut tabs {
        assert_eq!(tab.frame("state").await["data"], total(10));
    }
    other.post("/add/1").await;
    assert_eq!(others.frame("state").await["data"], total(2));
}

#[tokio::test(start_paused = true)]
async fn a_page_without_a_session_is_told_so_and_begins_none() {
    let site = Site::new();
    let page = site.open(&Client::new(&site.app)).await;
    assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(page.header("set-cookie"), None);
    assert_eq!(site.sessions.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn without_the_layer_it_is_a_clear_error() {
    let site = Site::new();
    let bare: Router = site.live.routes("/live");
    let page = Page::open(&bare, &Client::new(&bare)).await;
    assert_eq!(page.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(start_paused = true)]
async fn every_end_is_told_with_its_reason_and_then_the_stream_ends() {
    for (reason, told) in [
        (EndReason::Terminated, "revoked"),
        (EndReason::Evicted, "evicted"),
        (EndReason::LoggedOut, "logout"),
        (EndReason::Stopped, "logout"),
    ] {
        let site = Site::new();
        let client = site.visitor().await;
        let mut page = site.open(&client).await;
        page.greeted().await;
        site.sessions.terminate_for(&client.id(), reason).await.unwrap();
        assert_eq!(page.frame("session_expired").await["reason"], told);
        assert_eq!(page.any().await, None);
        let again = site.open(&client).await;
        assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(start_paused = true)]
async fn a_logout_by_request_is_a_logout() {
    let site = Site::new();
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    client.post("/logout").await;
    assert_eq!(page.frame("session_expired").await["reason"], "logout");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_killed_while_it_hangs_closes_its_pages() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    site.sessions.cast(&client.id(), Hang).unwrap();
    site.sessions.kill(&client.id()).unwrap();
    assert_eq!(page.frame("session_expired").await["reason"], "revoked");
}

#[tokio::test(start_paused = true)]
async fn a_silent_page_hears_heartbeats() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    let before = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(page.any().await.unwrap()["t"], "ping");
    }
    assert_eq!(before.elapsed().as_secs(), 45);
}

#[tokio::test(start_paused = true)]
async fn a_slow_page_gets_the_latest_in_place_of_all() {
    let site = Site::with(|live| live.with_min_interval(SECOND));
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    let before = tokio::time::Instant::now();
    for _ in 0..200 {
        client.post("/add/1").await;
    }
    assert_eq!(page.frame("state").await["data"], total(201));
    assert!(before.elapsed() >= SECOND, "not at once after the one before");
    assert_eq!(page.waiting().await, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_tells_pages_to_come_back_and_takes_no_more() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    site.live.pages().close();
    let frame = page.frame("reconnect").await;
    assert_eq!(
        (&frame["reason"], &frame["after_ms"]),
        (&json!("shutdown"), &json!(1000))
    );
    assert_eq!(page.any().await, None);
    let late = site.open(&client).await;
    assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(late.header("retry-after").is_some());
    assert!(site.sessions.is_started(&client.id()), "its session is not over");
}

#[tokio::test(start_paused = true)]
async fn a_view_that_panics_closes_its_pages_and_nothing_else() {
    let (sessions, _clock) = timed();
    let live = Live::new(&sessions, |counter: &Counter| {
        assert_ne!(counter.total, 13, "as told");
        counter.total
    });
    let app = routes()
        .merge(live.routes("/live"))
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let mut page = Page::open(&app, &client).await;
    page.greeted().await;
    assert_eq!(client.post("/add/12").await.body, "13", "the request doesn't notice");
    assert_eq!(page.frame("reconnect").await["reason"], "error");
    assert_eq!(page.any().await, None);
    let broken = Page::open(&app, &client).await;
    assert_eq!(broken.status(), StatusCode::INTERNAL_SERVER_ERROR);
    client.post("/add/1").await;
    let mut page = Page::open(&app, &client).await;
    assert_eq!(page.greeted().await, 14, "and it is good again");
}

#[tokio::test(start_paused = true)]
async fn a_crash_shows_the_state_after_it() {
    let site = Site::new();
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    client.post("/fail").await;
    assert_eq!(page.frame("state").await["data"], total(0));
}

#[tokio::test(start_paused = true)]
async fn events_are_pushed_to_a_session_a_user_and_all() {
    let site = Site::with(|live| live.with_user(|counter| (counter.total == 1).then(|| "ann".to_owned())));
    let (ann, other) = (site.visitor().await, site.visitor().await);
    let mut guest = Client::new(&site.app);
    guest.post("/add/7").await;
    let mut tabs = Vec::new();
    for client in [&ann, &ann, &other, &guest] {
        let mut page = site.open(client).await;
        page.greeted().await;
        tabs.push(page);
    }
    let pages = site.live.pages();
    assert_eq!((pages.open(&ann.id()), pages.open(&other.id())), (2, 1));
    assert_eq!((pages.open_of_user("ann"), pages.open_in_all()), (3, 4));
    assert_eq!(pages.push(&ann.id(), "one", &1).unwrap(), 2);
    assert_eq!(pages.push_to_user("ann", "two", &[2]).unwrap(), 3);
    assert_eq!(pages.push_to_all("three", &Value::Null).unwrap(), 4);
    for (tab, names) in tabs.iter_mut().zip([
        &["one", "two", "three"][..],
        &["one", "two", "three"],
        &["two", "three"],
        &["three"],
    ]) {
        for name in names {
            assert_eq!(tab.frame("event").await["name"], *name);
        }
    }
    drop(tabs);
    assert_eq!((pages.open_of_user("ann"), pages.open_in_all()), (0, 0));
    assert_eq!(pages.push(&ann.id(), "one", &1).unwrap(), 0);
    // Who signs in is somebody else's user from then on.
    let mut page = site.open(&ann).await;
    page.greeted().await;
    site.sessions.call(&ann.id(), Add(1)).await.unwrap();
    assert_eq!(pages.push_to_user("ann", "mail", &1).unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_process_knows_its_pages() {
    let site = Site::new();
    let client = site.visitor().await;
    let pages = (site.open(&client).await, site.open(&client).await);
    assert_eq!(site.sessions.session_stats(&client.id()).unwrap().monitors, 2);
    drop(pages);
    assert_eq!(site.sessions.session_stats(&client.id()).unwrap().monitors, 0);
}
