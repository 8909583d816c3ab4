//! The same pages through a WebSocket, over TCP.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message as Text, client::IntoClientRequest},
};

use super::*;

const PROTOCOL: &str = "session-process.live.v1";

pub(super) async fn serve(site: &Site) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = site.app.clone();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

struct Opening<'a> {
    origin: Option<&'a str>,
    protocol: Option<&'a str>,
}

impl Opening<'_> {
    async fn connect(self, at: SocketAddr, client: &Client) -> Result<(Socket, HeadersSeen), u16> {
        let mut request = format!("ws://{at}/live").into_client_request().unwrap();
        let headers = request.headers_mut();
        if let Some(cookie) = &client.cookie {
            headers.insert("cookie", cookie.parse().unwrap());
        }
        if let Some(origin) = self.origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        if let Some(protocol) = self.protocol {
            headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        headers.insert("sec-websocket-extensions", "permessage-deflate".parse().unwrap());
        match connect_async(request).await {
            Ok((socket, response)) => {
                let extensions = response.headers().contains_key("sec-websocket-extensions");
                Ok((Socket(socket), HeadersSeen { extensions }))
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

struct HeadersSeen {
    extensions: bool,
}

impl Socket {
    async fn open(at: SocketAddr, client: &Client) -> Self {
        let origin = format!("http://{at}");
        let opening = Opening {
            origin: Some(&origin),
            protocol: Some(PROTOCOL),
        };
        opening.connect(at, client).await.unwrap().0
    }

    pub(super) async fn resumed(at: SocketAddr, client: &Client) -> Self {
        let mut socket = Self::open(at, client).await;
        socket.send(&json!({"t": "resume", "rev": 0})).await;
        socket
    }

    pub(super) async fn send(&mut self, frame: &Value) {
        self.0.send(Text::text(frame.to_string())).await.unwrap();
    }

    /// The next frame, or the code of the close.
    pub(super) async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match self.0.next().await {
                Some(Ok(Text::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["t"] != "ping" {
                        return Ok(frame);
                    }
                }
                Some(Ok(Text::Close(close))) => return Err(close.unwrap().code.into()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn frame(&mut self, kind: &str) -> Value {
        let frame = self.next().await.expect("a frame");
        assert_eq!(frame["t"], kind, "{frame}");
        frame
    }

    async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

#[tokio::test]
async fn a_socket_carries_the_same_frames_in_both_directions() {
    let site = Site::new();
    let client = site.visitor().await;
    let at = serve(&site).await;
    let mut page = Socket::resumed(at, &client).await;
    let hello = page.frame("hello").await;
    let state = page.frame("state").await;
    assert_eq!(state["data"], total(1));
    page.send(&json!({"t": "send", "id": 3, "name": "add", "data": 4}))
        .await;
    let mut frames = [page.next().await.unwrap(), page.next().await.unwrap()];
    frames.sort_by_key(|frame| frame["t"].to_string());
    assert_eq!(frames[0], json!({"t": "answer", "id": 3, "data": 5}));
    assert_eq!(frames[1]["data"], total(5));
    page.send(&json!({"t": "active"})).await;
    page.send(&json!({"t": "pong"})).await;
    page.send(&json!({"t": "send", "id": 4, "name": "nope"})).await;
    assert_eq!(page.frame("answer").await["error"]["code"], "unknown");
    drop(page);
    let mut page = Socket::open(at, &client).await;
    page.send(&json!({"t": "resume", "epoch": hello["epoch"], "rev": frames[1]["rev"]}))
        .await;
    assert_eq!(page.frame("hello").await["resumed"], true);
}

#[tokio::test]
async fn line_32_the_origin_is_checked_as_a_whole_before_the_session_is_read() {
    let site = Site::with(|live| live.with_origin("https://shop.example"));
    let client = site.visitor().await;
    let at = serve(&site).await;
    let mut events = site.sessions.events();
    for origin in [
        Some("https://evil.example"),
        Some("https://shop.example.evil.example"),
        Some("https://evil-shop.example"),
        Some("https://shop.example:444"),
        Some("http://shop.example"),
        Some("null"),
        None,
    ] {
        // With an id that is nobody's: were it read, it would be refused with an event.
        let mut unknown = Client::new(&site.app);
        unknown.cookie = Some("__Host-id=made-up".to_owned());
        let protocol = Some(PROTOCOL);
        let refused = Opening { origin, protocol }.connect(at, &unknown).await;
        assert_eq!(refused.err(), Some(403), "{origin:?}");
    }
    let heard = tokio::time::timeout(Duration::from_millis(50), events.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
    let opening = Opening {
        origin: Some("https://shop.example"),
        protocol: Some(PROTOCOL),
    };
    assert!(opening.connect(at, &client).await.is_ok());
}

#[tokio::test]
async fn line_37_nothing_is_compressed() {
    let site = Site::new();
    let client = site.visitor().await;
    let at = serve(&site).await;
    let origin = format!("http://{at}");
    let opening = Opening {
        origin: Some(&origin),
        protocol: Some(PROTOCOL),
    };
    let (_, headers) = opening.connect(at, &client).await.unwrap();
    assert!(!headers.extensions);
    let page = Page::from(&site.app, request(&client, &[("accept-encoding", "gzip, br")])).await;
    assert_eq!(page.header("content-encoding"), None);
    assert!(
        page.header("cache-control").unwrap().contains("no-transform"),
        "nor by a proxy"
    );
}

#[tokio::test]
async fn a_page_learns_from_the_code_why_it_is_closed() {
    let site = Site::with(|live| live.with_max_pages(1, 1, 10));
    let client = site.visitor().await;
    let at = serve(&site).await;
    assert_eq!(Socket::resumed(at, &Client::new(&site.app)).await.closed().await, 4401);
    let origin = format!("http://{at}");
    let opening = Opening {
        origin: Some(&origin),
        protocol: None,
    };
    assert_eq!(opening.connect(at, &client).await.unwrap().0.closed().await, 4406);

    let mut page = Socket::resumed(at, &client).await;
    page.frame("hello").await;
    assert_eq!(Socket::resumed(at, &client).await.closed().await, 4429);
    page.send(&json!({"t": "steal"})).await;
    assert_eq!(page.closed().await, 4400);

    let mut page = Socket::resumed(at, &client).await;
    while page.next().await.is_ok_and(|frame| frame["t"] != "state") {}
    let moved = site.sessions.rotate(&client.id()).await.unwrap();
    assert_eq!(page.frame("reconnect").await["reason"], "moved");
    assert_eq!(page.closed().await, 4410);

    let client = Client::with_id(&site.app, &moved);
    let mut page = Socket::resumed(at, &client).await;
    page.frame("hello").await;
    page.frame("state").await;
    site.sessions.terminate(&moved).await.unwrap();
    assert_eq!(page.frame("session_expired").await["reason"], "revoked");
    assert_eq!(page.closed().await, 4401);

    let client = site.visitor().await;
    let mut page = Socket::resumed(at, &client).await;
    page.frame("hello").await;
    page.frame("state").await;
    site.live.pages().close();
    assert_eq!(page.frame("reconnect").await["reason"], "shutdown");
    assert_eq!(page.closed().await, 1012);
}

#[tokio::test]
async fn line_36_a_socket_that_floods_is_closed() {
    let site = Site::new();
    let client = site.visitor().await;
    let at = serve(&site).await;
    let mut page = Socket::resumed(at, &client).await;
    page.frame("hello").await;
    // It may be closed before the last is written.
    for _ in 0..200 {
        let active = Text::text(r#"{"t":"active"}"#);
        if page.0.send(active).await.is_err() {
            break;
        }
    }
    assert_eq!(page.closed().await, 4429);

    let mut page = Socket::open(at, &site.visitor().await).await;
    page.send(&json!({"t": "send", "name": "x".repeat(65_536)})).await;
    assert_eq!(page.closed().await, 1009);
}

#[tokio::test]
async fn a_socket_that_is_silent_is_closed() {
    let site = Site::with(|live| live.with_heartbeat(SECOND));
    let client = site.visitor().await;
    let at = serve(&site).await;
    let mut page = Socket::resumed(at, &client).await;
    page.frame("hello").await;
    // Not read, so its pings are not answered: a half-open connection.
    let monitors = || site.sessions.session_stats(&client.id()).unwrap().monitors;
    assert_eq!(monitors(), 1);
    while monitors() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a browser sends through its socket, byte for byte, after the handshake.
async fn speaks(at: SocketAddr, client: &Client, bytes: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = TcpStream::connect(at).await.unwrap();
    let cookie = client.cookie.as_deref().unwrap();
    let head = format!(
        "GET /live HTTP/1.1\r\nhost: {at}\r\norigin: http://{at}\r\ncookie: {cookie}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: {PROTOCOL}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    // And no more: whoever waits for the rest of a frame is told that there is none.
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // An error: it was cut off.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 101"), "the handshake was good");
}

#[test]
fn whatever_comes_through_a_socket_closes_it_and_harms_nobody() {
    use proptest::{prelude::*, test_runner::TestRunner};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (site, client, at) = runtime.block_on(async {
        let site = Site::with(|live| live.with_frame_rate(std::num::NonZeroU32::MAX));
        let client = site.visitor().await;
        let at = serve(&site).await;
        (site, client, at)
    });
    let mut runner = TestRunner::new(ProptestConfig::with_cases(48));
    // Well-formed frames of a client with something in them, and anything at all.
    let framed = (0..16_u8, prop::collection::vec(any::<u8>(), 0..120)).prop_map(|(opcode, payload)| {
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend(payload);
        frame
    });
    let bytes = prop_oneof![framed, prop::collection::vec(any::<u8>(), 0..200)];
    let ran = runner.run(&prop::collection::vec(bytes, 1..4), |frames| {
        runtime.block_on(async {
            speaks(at, &client, &frames.concat()).await;
            let deadline = tokio::time::Instant::now() + SECOND * 20;
            while site.live.pages().open_in_all() > 0 {
                assert!(tokio::time::Instant::now() < deadline, "its page stays open");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Ok(())
    });
    ran.unwrap();
    assert_eq!(runtime.block_on(site.sessions.call(&client.id(), Add(0))).unwrap(), 1);
}
