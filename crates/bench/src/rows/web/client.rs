//! [`Crowd`]: browsers, as cheap as they can be: a connection each, one request after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

use crate::setting::Setting;

pub(super) struct Crowd {
    browsers: Vec<Arc<Mutex<Browser>>>,
}

struct Browser {
    stream: TcpStream,
    /// What it sends, with its cookie.
    request: Vec<u8>,
    buffer: Vec<u8>,
    begun: bool,
}

/// What a browser sends besides, about.
const HEADERS: &str = "Host: 127.0.0.1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101\r\n\
     Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-GB,en;q=0.5\r\n";

impl Crowd {
    /// Serves the router on a port of its own, for good, and connects.
    pub(super) async fn connect(router: Router, browsers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut crowd = Vec::with_capacity(browsers);
        for _ in 0..browsers {
            let stream = TcpStream::connect(address).await.expect("it listens");
            stream.set_nodelay(true).expect("an open connection");
            crowd.push(Arc::new(Mutex::new(Browser {
                stream,
                request: Vec::new(),
                buffer: Vec::with_capacity(4096),
                begun: false,
            })));
        }
        Self { browsers: crowd }
    }

    /// A request of each browser. Its first begins a session, where there are any.
    pub(super) async fn each_once(&self) {
        for browser in &self.browsers {
            let mut browser = browser.lock().await;
            if browser.begun {
                browser.ask().await;
            } else {
                browser.begin().await;
            }
        }
    }

    /// Requests a second, in all.
    pub(super) fn round(&self, setting: &Setting, length: Duration) -> f64 {
        let browsers = self.browsers.clone();
        setting.run(async move {
            let begin = Instant::now();
            let browsers: Vec<_> = browsers
                .into_iter()
                .map(|browser| {
                    tokio::spawn(async move {
                        let mut browser = browser.lock().await;
                        let mut requests = 0u64;
                        while begin.elapsed() < length {
                            browser.ask().await;
                            requests += 1;
                        }
                        requests
                    })
                })
                .collect();
            let mut requests = 0;
            for browser in browsers {
                requests += browser.await.expect("a browser panicked");
            }
            requests as f64 / begin.elapsed().as_secs_f64()
        })
    }
}

impl Browser {
    async fn begin(&mut self) {
        self.request = format!("GET /begin HTTP/1.1\r\n{HEADERS}\r\n").into_bytes();
        let end = self.exchange().await;
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        // Without a layer, the cookie of somebody else's.
        let pair = set.map_or("__Host-id=0123456789abcdefghijklmnopqrstuv", |set| {
            set.split(';').next().unwrap_or_default()
        });
        self.request = format!("GET / HTTP/1.1\r\n{HEADERS}Cookie: {pair}\r\n\r\n").into_bytes();
        self.begun = true;
    }

    async fn ask(&mut self) {
        self.exchange().await;
        assert!(
            self.buffer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&self.buffer)
        );
    }

    /// One request and its whole answer. Returns where the head of that ends.
    async fn exchange(&mut self) -> usize {
        self.stream.write_all(&self.request).await.expect("the server is there");
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await;
            assert!(read.expect("the server is there") > 0, "the server hung up");
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let length = content_length(&self.buffer[..end]);
                if self.buffer.len() >= end + 4 + length {
                    return end;
                }
            }
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length: ";
    let Some(at) = head.windows(NAME.len()).position(|part| part == NAME) else {
        return 0;
    };
    let digits = head[at + NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}
