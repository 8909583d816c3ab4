//! A proxy in between that gathers what it passes on, as nginx does.

use std::{convert::Infallible, net::SocketAddr};

use axum::{response::IntoResponse, routing::get};
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// What it gathers before it passes anything on. nginx: a page of memory or two.
const GATHERS: usize = 8 * 1024;

/// Passes a response on in pieces of that size, unless its head says `X-Accel-Buffering: no`.
async fn carry(mut browser: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut down, mut up) = server.into_split();
    let (mut read, mut write) = browser.split();
    let ask = async { tokio::io::copy(&mut read, &mut up).await.map(drop) };
    let answer = async {
        let (mut gathered, mut buffers) = (Vec::new(), None);
        loop {
            if down.read_buf(&mut gathered).await? == 0 {
                return write.write_all(&gathered).await;
            }
            let text = String::from_utf8_lossy(&gathered).to_lowercase();
            if buffers.is_none() && text.contains("\r\n\r\n") {
                buffers = Some(!text.contains("x-accel-buffering: no"));
            }
            if buffers == Some(false) || gathered.len() >= GATHERS {
                write.write_all(&gathered).await?;
                gathered.clear();
            }
        }
    };
    tokio::try_join!(ask, answer).map(drop)
}

async fn behind_a_proxy(app: Router) -> SocketAddr {
    let servers = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = servers.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(servers, app).await });
    let browsers = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = browsers.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((browser, _)) = browsers.accept().await {
            tokio::spawn(carry(browser, server));
        }
    });
    proxy
}

/// Reads until there is this text, or nothing more comes for a while.
async fn reads(at: SocketAddr, path: &str, client: &Client, texts: &[&str], wait: Duration) -> bool {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let cookie = client.cookie.as_deref().unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\ncookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all);
        if texts.iter().all(|wanted| text.contains(wanted)) {
            return true;
        }
        match tokio::time::timeout(wait, stream.read_buf(&mut all)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => return false,
        }
    }
}

#[tokio::test]
async fn a_proxy_that_buffers_lets_a_page_through_at_once() {
    let site = Site::new();
    let client = site.visitor().await;
    // As a stream that says nothing to proxies.
    let bare = || async {
        let first = stream::iter([Ok::<_, Infallible>("event: hello\n\n")]);
        Body::from_stream(first.chain(stream::pending())).into_response()
    };
    let at = behind_a_proxy(site.app.clone().route("/bare", get(bare))).await;
    let held = reads(at, "/bare", &client, &["event: hello"], Duration::from_millis(300)).await;
    assert!(!held, "the proxy holds back what it may");
    assert!(reads(at, "/live", &client, &["event: hello", "event: state"], SECOND * 20).await);
}
