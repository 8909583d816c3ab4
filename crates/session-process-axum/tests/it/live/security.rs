//! The lines of the security table that are about pages. Each test is named after its line.

use session_process::{Context, Handle, Process};

use super::*;

#[tokio::test(start_paused = true)]
async fn line_17_a_new_id_closes_the_pages_of_the_old_one() {
    let site = Site::new();
    let mut client = site.visitor().await;
    let planted = Client::with_id(&site.app, &client.id());
    let mut attacker = site.open(&planted).await;
    attacker.greeted().await;
    client.post("/login").await;
    assert_eq!(attacker.frame("reconnect").await["reason"], "moved");
    assert_eq!(attacker.any().await, None);
    assert_eq!(site.open(&planted).await.status(), StatusCode::UNAUTHORIZED);
    let mut own = site.open(&client).await;
    assert_eq!(own.greeted().await, total(1), "the browser's own pages come back");
}

#[tokio::test(start_paused = true)]
async fn line_21_heartbeats_reconnects_and_pushes_are_no_use() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    let idle = || site.sessions.session_stats(&client.id()).unwrap().idle_for.as_secs();
    for n in 1..=5 {
        site.clock.advance(SECOND * 10);
        let frame = page.any().await.unwrap();
        assert!(frame["t"] == "ping" || frame["t"] == "expiring", "{frame}");
        site.live.pages().push(&client.id(), "news", &n).unwrap();
        page.frame("event").await;
        let mut another = Page::back(&site.app, &client, page.at.as_ref().unwrap()).await;
        another.frame("hello").await;
        assert_eq!(idle(), n * 10);
    }
    site.clock.advance(SECOND * 10);
    site.sessions.expire_now().await;
    assert_eq!(page.frame("session_expired").await["reason"], "idle");
}

#[tokio::test(start_paused = true)]
async fn line_33_a_page_of_another_site_gets_no_stream() {
    let site = Site::new();
    let client = site.visitor().await;
    let refused = |more| {
        let (app, request) = (site.app.clone(), request(&client, more));
        async move { Page::from(&app, request).await }
    };
    for more in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "https://shop.example.evil.example")],
        &[("origin", "null")],
        &[("origin", "https://shop.example:444")],
        &[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")],
    ] {
        let page = refused(more).await;
        assert_eq!(page.status(), StatusCode::FORBIDDEN, "{more:?}");
        assert!(page.header("access-control-allow-origin").is_none());
    }
    for more in [
        &[("sec-fetch-site", "same-origin")][..],
        &[("origin", "https://shop.example"), ("sec-fetch-site", "same-origin")],
    ] {
        assert_eq!(refused(more).await.status(), StatusCode::OK, "{more:?}");
    }
    assert_eq!(site.sessions.session_stats(&client.id()).unwrap().monitors, 0);
}

#[tokio::test(start_paused = true)]
async fn line_33_and_34_a_page_of_another_site_sends_nothing() {
    let site = Site::new();
    let client = site.visitor().await;
    for more in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let frame = br#"{"t":"send","name":"add","data":1}"#.to_vec();
        let (status, _) = post(&site.app, &client, frame, &[("content-type", "application/json"), more]).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{more:?}");
    }
    assert_eq!(site.sessions.call(&client.id(), Add(0)).await.unwrap(), 1);
}

#[tokio::test]
async fn line_35_pages_are_told_and_closed_within_a_second_of_the_expiry() {
    // The real sweeper and the real clock.
    let sessions = session_process::Sessions::<Counter>::builder()
        .idle_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let live = Live::new(&sessions, |counter: &Counter| counter.total);
    let app = routes()
        .merge(live.routes("/live"))
        .layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::new(&app);
    client.post("/add/1").await;
    let used = std::time::Instant::now();
    let mut page = Page::open(&app, &client).await;
    page.frame("hello").await;
    page.frame("state").await;
    let frame = loop {
        let frame = page.next().await.unwrap();
        if frame["t"] != "expiring" {
            break frame;
        }
        assert!(!frame["in_ms"].is_null(), "nobody has used it again: {frame}");
    };
    assert_eq!(
        (&frame["t"], &frame["reason"]),
        (&json!("session_expired"), &json!("idle"))
    );
    assert_eq!(page.any().await, None);
    // The sweep comes once a second; half a second for a machine that is busy.
    let late = used.elapsed().saturating_sub(Duration::from_millis(300));
    assert!(late < Duration::from_millis(1500), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn line_38_each_message_is_authorised_when_it_comes() {
    #[derive(Default)]
    struct Desk {
        is_editor: bool,
        text: String,
    }
    impl Process for Desk {}
    struct SetEditor(bool);
    impl Handle<SetEditor> for Desk {
        type Reply = ();
        async fn handle(&mut self, SetEditor(is): SetEditor, _: &mut Context<Self>) {
            self.is_editor = is;
        }
    }
    struct Write(String);
    impl Handle<Write> for Desk {
        type Reply = Result<(), SendError>;
        async fn handle(&mut self, Write(text): Write, _: &mut Context<Self>) -> Result<(), SendError> {
            if !self.is_editor {
                return Err(SendError::forbidden("editors only"));
            }
            self.text = text;
            Ok(())
        }
    }
    let sessions = Sessions::<Desk>::builder().build().unwrap();
    let live = Live::new(&sessions, |desk: &Desk| desk.text.clone())
        .with_sends(|caller: Caller<Desk>, message: Message| async move { caller.call(Write(message.data()?)).await? });
    let app: Router = live.routes("/live").layer(SessionLayer::new(sessions.clone()));
    let id = id("room");
    sessions.start(&id).await.unwrap();
    let client = Client::with_id(&app, &id);
    let mut page = Page::open(&app, &client).await;
    page.greeted().await;
    sessions.call(&id, SetEditor(true)).await.unwrap();
    let write = |text: &str| json!({"t": "send", "name": "write", "data": text});
    assert_eq!(up(&app, &client, &write("one")).await.0, StatusCode::OK);
    assert_eq!(page.frame("state").await["data"], "one");
    sessions.call(&id, SetEditor(false)).await.unwrap();
    let (status, answer) = up(&app, &client, &write("two")).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::FORBIDDEN, &json!("forbidden"))
    );
    assert_eq!(page.waiting().await, Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn line_42_a_page_is_warned_before_its_session_expires_and_told_when_it_is_used_again() {
    let site = Site::with(|live| live.with_warning(SECOND * 20));
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    site.clock.advance(SECOND * 45);
    let frame = page.frame("expiring").await;
    assert_eq!((&frame["in_ms"], &frame["kind"]), (&json!(15_000), &json!("idle")));
    client.post("/touch").await;
    let frame = page.frame("expiring").await;
    assert_eq!(frame["in_ms"], Value::Null);
    for _ in 0..14 {
        site.clock.advance(SECOND * 38);
        client.post("/touch").await;
    }
    site.clock.advance(SECOND * 5);
    client.post("/touch").await;
    let frame = page.frame("expiring").await;
    assert_eq!((&frame["in_ms"], &frame["kind"]), (&json!(18_000), &json!("absolute")));
}

#[tokio::test(start_paused = true)]
async fn line_42_a_page_that_was_warned_is_told_the_newest_end_though_it_is_near_as_well() {
    // The idle timeout of a minute is within it: every use leaves the session near its end.
    let site = Site::with(|live| live.with_warning(SECOND * 90));
    let mut client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    assert_eq!(page.frame("expiring").await["in_ms"], 60_000);
    // It looks once a second.
    let none = async |page: &mut Page| tokio::time::timeout(SECOND * 5, page.any()).await.is_err();
    site.clock.advance(SECOND * 30);
    assert!(none(&mut page).await, "the same end, and told");
    client.post("/touch").await;
    assert_eq!(page.frame("expiring").await["in_ms"], 60_000);
    site.clock.advance(SECOND * 59);
    assert!(none(&mut page).await, "the same end, and told");
}

#[tokio::test(start_paused = true)]
async fn no_frame_and_no_answer_holds_the_id() {
    let site = Site::with(|live| live.with_user(|_| Some("ann".to_owned())));
    let mut client = site.visitor().await;
    let (id, mut all) = (client.id(), String::new());
    let mut page = site.open(&client).await;
    client.post("/add/1").await;
    site.live.pages().push(&id, "x", &1).unwrap();
    let (_, answer) = up(&site.app, &client, &json!({"t": "send", "name": "add", "data": 1})).await;
    all += &answer.to_string();
    site.sessions.terminate(&id).await.unwrap();
    while let Some(frame) = page.any().await {
        all += &frame.to_string();
    }
    assert!(all.contains("session_expired") && all.contains("answer"));
    assert!(!all.contains(id.expose()));
    assert!(!format!("{:?}", site.live).contains(id.expose()));
}
