//! Floods: of pages, of frames, of large ones. Line 36 of the security table, with the socket's in `socket`.

use std::num::NonZeroU32;

use super::*;

#[tokio::test(start_paused = true)]
async fn line_36_pages_of_a_session_of_a_user_and_in_all_are_limited() {
    let site = Site::with(|live| {
        live.with_max_pages(3, 4, 5)
            .with_user(|c| (c.total == 1).then(|| "ann".to_owned()))
    });
    let (a, b) = (site.visitor().await, site.visitor().await);
    let mut guests = Client::new(&site.app);
    guests.post("/add/7").await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(site.open(&a).await);
    }
    let refused = site.open(&a).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "the session's");
    assert!(refused.header("retry-after").is_some());
    open.push(site.open(&b).await);
    assert_eq!(
        site.open(&b).await.status(),
        StatusCode::TOO_MANY_REQUESTS,
        "the user's"
    );
    open.push(site.open(&guests).await);
    assert_eq!(
        site.open(&guests).await.status(),
        StatusCode::SERVICE_UNAVAILABLE,
        "of all"
    );
    assert!(open.iter().all(|page| page.status() == StatusCode::OK));
    open.clear();
    assert_eq!(site.open(&a).await.status(), StatusCode::OK, "places are free again");
}

#[tokio::test(start_paused = true)]
async fn line_36_a_frame_of_more_than_64_kib_is_refused() {
    let site = Site::new();
    let client = site.visitor().await;
    let frame = |bytes: usize| {
        let empty = r#"{"t":"send","name":"nope","data":""}"#.len();
        json!({"t": "send", "name": "nope", "data": "x".repeat(bytes - empty)})
    };
    assert_eq!(up(&site.app, &client, &frame(65_536)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        up(&site.app, &client, &frame(65_537)).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test(start_paused = true)]
async fn line_36_a_flood_of_frames_is_refused() {
    let rate = NonZeroU32::new(5).unwrap();
    let site = Site::with(|live| live.with_frame_rate(rate));
    let client = site.visitor().await;
    let add = json!({"t": "send", "name": "add", "data": 1});
    let mut taken = 0;
    for _ in 0..100 {
        let (status, _) = up(&site.app, &client, &add).await;
        assert!(matches!(status.as_u16(), 200 | 429));
        taken += u64::from(status == StatusCode::OK);
    }
    // Ten at once; the rest is what the time of the test itself is worth.
    assert!((10..50).contains(&taken), "{taken}");
    assert_eq!(site.sessions.call(&client.id(), Add(0)).await.unwrap(), 1 + taken);
    let other = site.visitor().await;
    assert_eq!(
        up(&site.app, &other, &add).await.0,
        StatusCode::OK,
        "others don't notice"
    );
}

#[tokio::test(start_paused = true)]
async fn sessions_that_were_left_are_forgotten() {
    let site = Site::new();
    for _ in 0..100 {
        let client = site.visitor().await;
        let mut page = site.open(&client).await;
        page.greeted().await;
    }
    assert!(format!("{:?}", site.live.pages()).contains("sessions: 100"));
    tokio::time::advance(SECOND * 61).await;
    let client = site.visitor().await;
    let _page = site.open(&client).await;
    assert!(format!("{:?}", site.live.pages()).contains("sessions: 1,"));
}

#[tokio::test(start_paused = true)]
async fn a_view_that_is_too_large_closes_its_pages() {
    let (sessions, _clock) = timed();
    let live = Live::new(&sessions, |counter: &Counter| "x".repeat(counter.total as usize)).with_max_view(100);
    let app = routes()
        .merge(live.routes("/live"))
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::new(&app);
    client.post("/add/98").await;
    let mut page = Page::open(&app, &client).await;
    page.greeted().await;
    client.post("/add/1").await;
    assert_eq!(page.frame("reconnect").await["reason"], "error");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_changes_a_second_for_a_page_that_reads_nothing_cost_no_memory() {
    // What a page can be owed is one view and the newest events: the rest is tested in `hub`.
    let site = Site::new();
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    for _ in 0..1_000 {
        client.post("/add/1").await;
    }
    let waiting = page.waiting().await;
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["data"], total(1001));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_pages_are_told_of_a_change_and_of_the_end() {
    let site = Site::with(|live| live.with_max_pages(10_000, 10_000, 10_000));
    let mut client = site.visitor().await;
    let mut pages = Vec::new();
    for _ in 0..10_000 {
        let mut page = site.open(&client).await;
        page.greeted().await;
        pages.push(page);
    }
    assert_eq!(site.live.pages().open(&client.id()), 10_000);
    client.post("/add/1").await;
    for page in &mut pages {
        assert_eq!(page.frame("state").await["data"], total(2));
    }
    site.sessions.terminate(&client.id()).await.unwrap();
    for page in &mut pages {
        assert_eq!(page.frame("session_expired").await["reason"], "revoked");
    }
    drop(pages);
    assert_eq!(site.live.pages().open_in_all(), 0);
}
