//! Ten thousand open pages on one node, of as many sessions: over TCP as far as the limit of open files goes (each takes
//! two, as both ends are in this program), the rest as bodies that this test reads itself.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::*;

const PAGES: usize = 10_000;

/// What a page over TCP may cost, in bytes. hyper keeps a buffer of 8 KiB to read each connection into and one to write
/// heads from; then there are the tasks of the connection, the session, its hub and the page itself. (This is a build
/// without optimisation, whose futures are larger; `page_bytes` of `bench` compares with a bare stream of axum.)
const MOST_BYTES: usize = 32 * 1024;

/// Files that others in this program have open.
const OTHER_FILES: usize = 200;

/// How many connections there can be, both ends of each in this program.
fn connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let files = maximum.map_or(usize::MAX, |files| files as usize);
    PAGES.min(files.saturating_sub(OTHER_FILES) / 2)
}

/// Memory of this program that is there, in bytes. The client's ends of the connections have none in it.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

/// The browser's end, which keeps what it has read too early and nothing else.
struct Browser {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Browser {
    fn open(at: SocketAddr, id: &SessionId) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(SECOND * 20)).unwrap();
        let cookie = format!("__Host-id={}", id.expose());
        let request = format!("GET /live HTTP/1.1\r\nhost: shop.example\r\ncookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let read = Vec::new();
        Self { stream, read }
    }

    /// Reads to the end of this text.
    fn reads(&mut self, text: &str) {
        let mut some = [0; 2048];
        let end = loop {
            let found = self
                .read
                .windows(text.len())
                .position(|window| window == text.as_bytes());
            if let Some(at) = found {
                break at + text.len();
            }
            let count = self.stream.read(&mut some).expect("something more in time");
            assert_ne!(count, 0, "the stream ended without {text:?}");
            self.read.extend_from_slice(&some[..count]);
        };
        self.read = self.read[end..].to_vec();
    }

    fn ends(&mut self) {
        self.stream.read_to_end(&mut self.read).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_pages_are_told_of_a_push_and_of_the_shutdown() {
    let sessions = Sessions::<Counter>::builder().build().unwrap();
    let live = Live::new(&sessions, |counter: &Counter| json!({ "total": counter.total }));
    let pages = live.pages().clone();
    let app: Router = live.routes("/live").layer(SessionLayer::new(sessions.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (served, closing) = (app.clone(), pages.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let graceful = async move {
            stopped.await.unwrap();
            closing.close();
        };
        axum::serve(listener, served).with_graceful_shutdown(graceful).await
    });

    let mut ids: Vec<SessionId> = (0..PAGES).map(|_| SessionId::generate()).collect();
    for id in &ids {
        sessions.start(id).await.unwrap();
    }
    let over_tcp = connections();
    let here = ids.split_off(over_tcp);
    let before = resident();
    let mut browsers = tokio::task::spawn_blocking(move || {
        let open = |id: &SessionId| {
            let mut browser = Browser::open(at, id);
            browser.reads("\"data\":{\"total\":0}}");
            browser
        };
        ids.iter().map(open).collect::<Vec<_>>()
    })
    .await
    .unwrap();
    let each = resident().saturating_sub(before) / over_tcp.max(1);
    let mut bodies = Vec::new();
    for id in &here {
        let mut page = Page::open(&app, &Client::with_id(&app, id)).await;
        page.greeted().await;
        bodies.push(page);
    }
    report(over_tcp, bodies.len(), each);
    assert!(each < MOST_BYTES, "{each} bytes a page");
    assert_eq!(pages.open_in_all(), PAGES);

    assert_eq!(pages.push_to_all("news", &"for all").unwrap(), PAGES);
    let mut browsers = tokio::task::spawn_blocking(move || {
        browsers
            .iter_mut()
            .for_each(|browser| browser.reads("\"data\":\"for all\"}"));
        browsers
    })
    .await
    .unwrap();
    for page in &mut bodies {
        assert_eq!(page.frame("event").await["data"], "for all");
    }

    stop.send(()).unwrap();
    for page in &mut bodies {
        assert_eq!(page.frame("reconnect").await["reason"], "shutdown");
        assert_eq!(page.any().await, None);
    }
    tokio::task::spawn_blocking(move || {
        for browser in &mut browsers {
            browser.reads("\"reason\":\"shutdown\"}");
            browser.ends();
        }
    })
    .await
    .unwrap();
    server.await.unwrap().unwrap();
    drop(bodies);
    assert_eq!(pages.open_in_all(), 0);
}

#[expect(clippy::print_stdout, reason = "a figure for whoever reads the output of this test")]
fn report(over_tcp: usize, here: usize, each: usize) {
    println!("{over_tcp} pages over TCP, {each} bytes each; {here} pages read in place");
}
