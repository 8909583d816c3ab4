//! What pages are, as events and as metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering},
};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use session_process::Event;

use super::{
    socket::{Socket, serve},
    *,
};

/// Counters and gauges by their name and labels, in the way Prometheus writes them.
#[derive(Default)]
struct Recorded(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorded {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    /// Those of live pages, without what they all begin with. `f64` in gauges.
    fn live(&self) -> Vec<(String, u64)> {
        let all = self.0.lock().unwrap();
        let live = all.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("session_process_live_")?;
            let value = value.load(Ordering::Relaxed);
            let value = if name.starts_with("pages_open{") {
                f64::from_bits(value) as u64
            } else {
                value
            };
            Some((name.to_owned(), value))
        });
        live.collect()
    }

    fn text(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn expected(lines: &[(&str, u64)]) -> Vec<(String, u64)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[tokio::test(start_paused = true)]
async fn pages_are_counted_by_transport_and_end_and_frames_by_kind() {
    let recorded = Recorded::default();
    let _guard = ::metrics::set_default_local_recorder(&recorded);
    let site = Site::with(|live| live.with_max_pages(2, 10, 3).with_frame_rate(std::num::NonZeroU32::MIN));
    let mut client = site.visitor().await;
    assert_eq!(recorded.live(), []);

    let mut page = site.open(&client).await;
    page.greeted().await;
    client.post("/add/1").await;
    page.frame("state").await;
    let at = page.at.take().unwrap();
    drop(page);
    client.post("/add/1").await;
    let mut back = Page::back(&site.app, &client, &at).await;
    back.frame("hello").await;
    back.frame("state").await;
    // Three views, of which it is told the last; and of 70 events, the newest 64.
    for _ in 0..3 {
        client.post("/add/1").await;
    }
    for n in 0..70 {
        site.live.pages().push(&client.id(), "tick", &n).unwrap();
    }
    assert_eq!(back.waiting().await.len(), 65);
    let mut other = site.open(&client).await;
    other.greeted().await;
    assert_eq!(site.open(&client).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let active = json!({"t": "active"});
    for _ in 0..3 {
        up(&site.app, &client, &active).await;
    }
    assert_eq!(
        recorded.live(),
        expected(&[
            ("events_dropped_total{}", 6),
            ("frames_coalesced_total{}", 2),
            ("frames_total{frame=event}", 64),
            ("frames_total{frame=hello}", 3),
            ("frames_total{frame=state}", 5),
            ("pages_closed_total{reason=left}", 1),
            ("pages_opened_total{transport=sse}", 3),
            ("pages_open{transport=sse}", 2),
            ("refused_total{limit=frames}", 1),
            ("refused_total{limit=session}", 1),
            ("resumes_total{outcome=whole}", 1),
        ])
    );
    site.sessions.terminate(&client.id()).await.unwrap();
    for mut page in [back, other] {
        page.frame("session_expired").await;
    }
    let all = recorded.live();
    assert!(
        all.contains(&("pages_closed_total{reason=ended}".to_owned(), 2)),
        "{all:?}"
    );
    assert!(all.contains(&("pages_open{transport=sse}".to_owned(), 0)), "{all:?}");
    assert!(!recorded.text().contains(client.id().expose()));
}

#[tokio::test]
async fn answers_through_a_socket_are_counted_as_frames() {
    let recorded = Recorded::default();
    let _guard = ::metrics::set_default_local_recorder(&recorded);
    let site = Site::new();
    let client = site.visitor().await;
    let mut socket = Socket::resumed(serve(&site).await, &client).await;
    socket
        .send(&json!({"t": "send", "id": 1, "name": "add", "data": 1}))
        .await;
    while socket.next().await.unwrap()["t"] != "answer" {}
    let all = recorded.live();
    assert!(all.contains(&("frames_total{frame=answer}".to_owned(), 1)), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn pages_are_events_with_the_reason_of_their_end() {
    for (close, told) in [
        (
            Box::new(|_: &Site, _: &Client| {}) as Box<dyn Fn(&Site, &Client)>,
            "left",
        ),
        (
            Box::new(|site: &Site, _: &Client| site.live.pages().close()),
            "shutdown",
        ),
        (
            Box::new(|site: &Site, client: &Client| {
                site.sessions.kill(&client.id()).unwrap();
            }),
            "ended",
        ),
    ] {
        let site = Site::new();
        let client = site.visitor().await;
        let mut events = site.sessions.events();
        let mut page = site.open(&client).await;
        page.greeted().await;
        close(&site, &client);
        page.waiting().await;
        drop(page);
        let handle = client.id().public_handle();
        let opened = events
            .find(|event| match event {
                Event::PageOpened {
                    session,
                    transport,
                    resume,
                } => Some((*session, *transport, *resume)),
                _ => None,
            })
            .await;
        assert_eq!(opened, Some((handle, "sse", "none")));
        let closed = events
            .find(|event| match event {
                Event::PageClosed { session, reason, .. } => Some((*session, *reason)),
                _ => None,
            })
            .await;
        assert_eq!(closed, Some((handle, told)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_an_id_that_was_renewed_has_moved_and_one_that_comes_back_resumes() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut events = site.sessions.events();
    let mut page = site.open(&client).await;
    page.greeted().await;
    let at = page.at.clone().unwrap();
    drop(page);
    let mut page = Page::back(&site.app, &client, &at).await;
    assert_eq!(page.frame("hello").await["resumed"], true);
    site.sessions.rotate(&client.id()).await.unwrap();
    page.frame("reconnect").await;
    drop(page);
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let word = |event: &Event| match event {
            Event::PageOpened { resume, .. } => Some(*resume),
            Event::PageClosed { reason, .. } => Some(*reason),
            _ => None,
        };
        seen.extend(events.find(word).await);
    }
    assert_eq!(seen, ["none", "left", "resumed", "moved"]);
}
