//! The two sides: a number for each session, which pages show.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use serde::Serialize;
use session_process::{Context, Handle, Process, SessionId, Sessions};
use session_process_axum::{SessionLayer, live::Live};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};

/// A system that shows pages a number for each session.
pub(super) trait Side: Clone + Send + Sync + 'static {
    /// The name in the table.
    const NAME: &'static str;

    /// So many sessions, and a server.
    fn new(sessions: usize) -> impl Future<Output = Self> + Send;

    fn address(&self) -> SocketAddr;

    /// What a page of this session asks for.
    fn request(&self, session: usize) -> String;

    /// Changes the number of this session.
    fn change(&self, session: usize) -> impl Future<Output = ()> + Send;
}

#[derive(Serialize)]
struct View {
    total: u64,
    name: &'static str,
}

impl View {
    fn of(total: u64) -> Self {
        let name = "a view as small as most";
        Self { total, name }
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[derive(Default)]
struct Sum(u64);

impl Process for Sum {}

struct Add;

impl Handle<Add> for Sum {
    type Reply = u64;
    async fn handle(&mut self, _: Add, _: &mut Context<Self>) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// Live pages of this crate.
#[derive(Clone)]
pub(super) struct Ours {
    sessions: Sessions<Sum>,
    ids: Arc<[SessionId]>,
    address: SocketAddr,
}

impl Side for Ours {
    const NAME: &'static str = "session-process";

    async fn new(count: usize) -> Self {
        let sessions = Sessions::<Sum>::builder().build().expect("a runtime");
        let ids: Arc<[SessionId]> = (0..count).map(|_| SessionId::generate()).collect();
        for id in &*ids {
            sessions.start(id).await.expect("there is room");
        }
        let live = Live::new(&sessions, |sum: &Sum| View::of(sum.0))
            .with_max_pages(10_000, 10_000, 100_000)
            .with_min_interval(std::time::Duration::ZERO);
        let router = live.routes("/live").layer(SessionLayer::new(sessions.clone()));
        let address = serve(router).await;
        Self { sessions, ids, address }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn request(&self, session: usize) -> String {
        let id = self.ids[session].expose();
        format!("GET /live HTTP/1.1\r\nhost: bench\r\ncookie: __Host-id={id}\r\n\r\n")
    }

    async fn change(&self, session: usize) {
        self.sessions
            .call(&self.ids[session], Add)
            .await
            .expect("it is started");
    }
}

/// What one would write without it.
#[derive(Clone)]
pub(super) struct Bare {
    numbers: Arc<[watch::Sender<u64>]>,
    address: SocketAddr,
}

impl Side for Bare {
    const NAME: &'static str = "axum + watch";

    async fn new(count: usize) -> Self {
        let numbers: Arc<[watch::Sender<u64>]> = (0..count).map(|_| watch::channel(0).0).collect();
        let router = Router::new()
            .route("/{session}", get(events))
            .with_state(Arc::clone(&numbers));
        let address = serve(router).await;
        Self { numbers, address }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn request(&self, session: usize) -> String {
        format!("GET /{session} HTTP/1.1\r\nhost: bench\r\n\r\n")
    }

    async fn change(&self, session: usize) {
        self.numbers[session].send_modify(|number| *number += 1);
    }
}

async fn events(
    Path(session): Path<usize>,
    State(numbers): State<Arc<[watch::Sender<u64>]>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let numbers = WatchStream::new(numbers[session].subscribe());
    let events = numbers.map(|total| {
        let event = Event::default().event("state").json_data(View::of(total));
        Ok(event.expect("a number and a text"))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}
