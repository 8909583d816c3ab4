//! Shops to look at, over TCP: in this program, or as a program of its own; and a network that can be cut.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use session_process::{
    Builder, ManualClock, Sessions,
    records::SessionRecords,
    store::{Change, MemoryStore, SessionStore, StoreError},
};
use shop::{Shop, app, visitor::Visit};
use testkit::{Asked, Hooked, Hooks};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) struct Running {
    pub(crate) shop: Shop,
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
}

pub(crate) async fn serve(shop: Shop) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its port");
    let app = app(&shop);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Running {
        shop,
        url: format!("http://{address}"),
        address,
    }
}

pub(crate) async fn running() -> Running {
    serve(Shop::new(Sessions::builder()).expect("a runtime").with_developer_page()).await
}

/// Whose time is the test's.
pub(crate) async fn timed(
    limits: impl FnOnce(Builder<Visit>) -> Builder<Visit>,
    shop: impl FnOnce(Shop) -> Shop,
) -> (Running, ManualClock) {
    let clock = ManualClock::new();
    clock.advance(Duration::from_secs(24 * 3600));
    let records = SessionRecords::builder(MemoryStore::with_clock(clock.clone()))
        .clock(clock.clone())
        .build()
        .expect("a runtime");
    let limits = limits(Sessions::builder()).clock(clock.clone());
    let made = Shop::with_records(limits, records).expect("a runtime");
    (serve(shop(made)).await, clock)
}

/// A store that can be away.
pub(crate) type Away = Hooked<MemoryStore, Absence>;

#[derive(Default)]
pub(crate) struct Absence {
    pub(crate) is_away: AtomicBool,
}

impl Absence {
    fn here(&self) -> Result<(), StoreError> {
        match self.is_away.load(SeqCst) {
            true => Err(StoreError::unavailable("test", "away, as told")),
            false => Ok(()),
        }
    }
}

impl Hooks for Absence {
    async fn before(&self, asked: Asked, _: &[Change], _: &dyn SessionStore) -> Result<(), StoreError> {
        match asked {
            Asked::Load | Asked::Commit => self.here(),
            Asked::Touch | Asked::DeleteExpired | Asked::List | Asked::Locate => Ok(()),
        }
    }
}

/// One more node over a store.
pub(crate) async fn node(store: Arc<dyn SessionStore>) -> Running {
    let records = SessionRecords::builder_over(store).build().expect("a runtime");
    serve(Shop::with_records(Sessions::builder(), records).expect("a runtime")).await
}

/// Two nodes over one store.
pub(crate) async fn nodes() -> [Running; 2] {
    let store = Arc::new(MemoryStore::new()) as Arc<dyn SessionStore>;
    [node(Arc::clone(&store)).await, node(store).await]
}

/// The program, with its sessions in a file.
pub(crate) struct Program {
    child: Child,
    /// It has more to say, and would end if nobody could hear it.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Program {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
            .args(["--port", "0", "--data"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the shop");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut line).expect("its address");
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.expect("its address").parse().expect("an address");
        Self {
            child,
            _stdout: stdout,
            address,
        }
    }
}

/// As a crash would.
impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between a browser and a server: one address for whatever is behind it, and a cable to pull.
pub(crate) struct Network {
    pub(crate) url: String,
    to: watch::Sender<Option<SocketAddr>>,
}

impl Network {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its port"));
        let (to, is_to) = watch::channel(Some(server));
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                tokio::spawn(carry(browser, is_to.clone()));
            }
        });
        Self { url, to }
    }

    pub(crate) fn cut(&self) {
        self.to.send_replace(None);
    }

    pub(crate) fn mend(&self, server: SocketAddr) {
        self.to.send_replace(Some(server));
    }
}

async fn carry(mut browser: TcpStream, mut to: watch::Receiver<Option<SocketAddr>>) {
    let Some(server) = *to.borrow_and_update() else { return };
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut browser, &mut server) => {}
        _ = to.changed() => {}
    }
}
