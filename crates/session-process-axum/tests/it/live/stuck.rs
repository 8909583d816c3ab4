//! Readers that take nothing: the page is closed, and what is left of it is let go.

use axum::serve::ListenerExt;
use session_process::Event;
use session_process_axum::live;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::Instant,
};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_page_whose_reader_is_stuck_is_closed_after_the_write_timeout() {
    let site = Site::with(|live| live.with_max_pages(1, 9, 9));
    let client = site.visitor().await;
    let mut events = site.sessions.events();
    let mut page = site.open(&client).await;
    page.frame("hello").await;
    // There is a state for it, and nobody asks.
    let pages = site.live.pages();
    tokio::time::sleep(SECOND * 29).await;
    assert_eq!(pages.open_in_all(), 1);
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!((pages.open_in_all(), pages.open(&client.id())), (0, 0));
    assert_eq!(site.sessions.session_stats(&client.id()).unwrap().monitors, 0);
    assert_eq!(pages.push(&client.id(), "x", &1).unwrap(), 0);
    let reason = events.find(|event| match event {
        Event::PageClosed { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason.await, Some("stuck"));

    // Its connection is still there, and takes up the place.
    assert_eq!(site.open(&client).await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(page.any().await, None, "who reads after all comes back");
    drop(page);
    let mut page = site.open(&client).await;
    page.greeted().await;
    assert_eq!(pages.open_in_all(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_has_nothing_to_read_but_heartbeats_is_not_stuck() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    for _ in 0..40 {
        assert_eq!(page.any().await.unwrap()["t"], "ping");
    }
    assert_eq!(site.live.pages().open_in_all(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_for_stuck_pages_where_there_are_none() {
    let site = Site::new();
    let client = site.visitor().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let pages = [site.open(&client).await, site.open(&client).await];
    assert_eq!(tasks(), before + 1, "one for all");
    drop(pages);
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(tasks(), before);
    let _page = site.open(&client).await;
    assert_eq!(tasks(), before + 1, "and again");
}

#[tokio::test(start_paused = true)]
async fn no_page_is_stuck_because_the_process_stood_still() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    // So that somebody has begun to look.
    tokio::time::sleep(SECOND).await;
    // At once, as after a pause: whoever looks for stuck pages comes before their readers.
    tokio::time::advance(SECOND * 300).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.live.pages().open_in_all(), 1);
    assert_eq!(page.any().await.unwrap()["t"], "ping");
    // It goes on looking.
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(site.live.pages().open_in_all(), 0);
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_page_that_is_closed_is_woken() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    let woken = std::sync::Arc::new(Woken::default());
    let times = || woken.0.load(std::sync::atomic::Ordering::SeqCst);
    let waker = std::sync::Arc::clone(&woken).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut body = std::pin::Pin::new(page.response.body_mut());
    assert!(http_body::Body::poll_frame(body.as_mut(), &mut cx).is_pending());
    // For a heartbeat, and doesn't come for it.
    tokio::time::sleep(SECOND * 30).await;
    assert_eq!((times(), site.live.pages().open_in_all()), (1, 1));
    tokio::time::sleep(SECOND * 30).await;
    assert_eq!((times(), site.live.pages().open_in_all()), (2, 0));
    assert!(matches!(
        http_body::Body::poll_frame(body, &mut cx),
        std::task::Poll::Ready(None)
    ));
}

#[tokio::test(start_paused = true)]
async fn the_least_write_timeout_says_how_often_stuck_pages_are_looked_for() {
    let site = Site::with(|live| live.with_write_timeout(SECOND * 4_000));
    let client = site.visitor().await;
    let patient = site.open(&client).await;
    let quick = Live::new(&site.sessions, |_: &Counter| 1)
        .with_pages(site.live.pages().clone())
        .with_write_timeout(SECOND * 4);
    let app = quick.routes("/live").layer(SessionLayer::new(site.sessions.clone()));
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let page = Page::open(&app, &client).await;
    tokio::time::sleep(SECOND * 6).await;
    assert_eq!(site.live.pages().open_in_all(), 1, "that of the patient one");
    assert_eq!(tasks(), before, "one looks for all");
    drop((page, patient));
}

#[tokio::test]
async fn somebody_looks_for_stuck_pages_when_the_runtime_of_the_first_is_gone() {
    let site = Site::with(|live| live.with_write_timeout(Duration::from_millis(40)));
    let client = site.visitor().await;
    let (app, first) = (site.app.clone(), request(&client, &[]));
    let short = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(Page::from(&app, first))
    });
    let first = short.await.unwrap();
    let _second = site.open(&client).await;
    let deadline = Instant::now() + SECOND * 15;
    while site.live.pages().open_in_all() > 0 {
        assert!(Instant::now() < deadline, "nobody looks");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(first);
}

const LIMIT: Duration = Duration::from_millis(400);

/// Over TCP, with small buffers, so that it is soon stuck.
async fn serve(site: &Site) -> std::net::SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.tap_io(live::write_timeout(LIMIT));
    let app = site.app.clone();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn connect(at: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.connect(at).await.unwrap()
}

/// Sends a request, and reads to the end of its head.
async fn ask(stream: &mut TcpStream, client: &Client, more: &str) {
    let cookie = client.cookie.as_deref().unwrap();
    let request = format!("GET /live HTTP/1.1\r\nhost: shop.example\r\ncookie: {cookie}\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

/// Pushes to a page that doesn't read until it is no page any more.
async fn push_until_it_is_closed(site: &Site, client: &Client) {
    let pages = site.live.pages();
    let deadline = Instant::now() + SECOND * 15;
    while pages.open(&client.id()) > 0 {
        assert!(Instant::now() < deadline, "a page that takes nothing is still open");
        pages.push(&client.id(), "much", &"x".repeat(100_000)).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Until the server has let go of the connection too: it would take up the one place.
async fn until_there_is_a_place(site: &Site, client: &Client) {
    let deadline = Instant::now() + SECOND * 15;
    while site.open(client).await.status() != StatusCode::OK {
        assert!(Instant::now() < deadline, "the connection is still held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_connection_of_a_reader_that_is_stuck_is_closed_too() {
    let site = Site::with(|live| live.with_max_pages(1, 1, 1).with_write_timeout(LIMIT));
    let client = site.visitor().await;
    let mut events = site.sessions.events();
    let at = serve(&site).await;
    let mut stream = connect(at).await;
    ask(&mut stream, &client, "").await;
    assert_eq!(site.live.pages().open(&client.id()), 1);
    push_until_it_is_closed(&site, &client).await;
    let closed = events.find(|event| match event {
        Event::PageClosed { reason, .. } => Some(*reason),
        _ => None,
    });
    // The page, or first the connection under it: both are watched for the same time.
    assert!(matches!(closed.await, Some("stuck" | "left")));
    until_there_is_a_place(&site, &client).await;
    // What is left in its own buffer, and then nothing more.
    let rest = tokio::time::timeout(SECOND * 15, stream.read_to_end(&mut Vec::new())).await;
    assert!(rest.is_ok(), "the stream ends or breaks");
}

#[tokio::test]
async fn a_socket_whose_reader_is_stuck_is_closed_with_its_connection() {
    let site = Site::with(|live| live.with_max_pages(1, 1, 1).with_write_timeout(LIMIT));
    let client = site.visitor().await;
    let mut events = site.sessions.events();
    let at = serve(&site).await;
    let mut stream = connect(at).await;
    let upgrade = "origin: http://shop.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   sec-websocket-protocol: session-process.live.v1\r\n";
    ask(&mut stream, &client, upgrade).await;
    assert_eq!(site.live.pages().open(&client.id()), 1);
    push_until_it_is_closed(&site, &client).await;
    let closed = events.find(|event| match event {
        Event::PageClosed { transport, reason, .. } => Some((*transport, *reason)),
        _ => None,
    });
    let (transport, reason) = closed.await.unwrap();
    assert_eq!(transport, "websocket");
    assert!(matches!(reason, "stuck" | "left"), "{reason}");
    until_there_is_a_place(&site, &client).await;
}

#[test]
#[should_panic(expected = "a millisecond at least")]
fn a_write_timeout_that_the_system_would_take_for_none_is_refused() {
    let _ = live::write_timeout(Duration::from_micros(999));
}
