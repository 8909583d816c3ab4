//! [`Proxy`]: the network between a node and its database, for a test to disturb.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_postgres::{Config, config::Host};

/// Stands between a node and the server, and passes on what comes, until it is told otherwise. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    /// How many there were.
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the node to the database.
    ToServer,
    /// From the database to the node.
    ToNode,
}

#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Connections with a smaller number than this are held.
    hold_below: u64,
    /// Connections with a smaller number than this lose nothing.
    lose_from: u64,
    lose_to_server: bool,
    lose_to_node: bool,
    refuse: bool,
    delay: Duration,
    /// Connections of an earlier one are cut.
    generation: u64,
}

impl Weather {
    fn loses(&self, number: u64, way: Way) -> bool {
        let loses = match way {
            Way::ToServer => self.lose_to_server,
            Way::ToNode => self.lose_to_node,
        };
        loses && number >= self.lose_from
    }
}

#[derive(Debug, Clone)]
enum Server {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Proxy {
    /// Before the first host of this configuration.
    ///
    /// # Panics
    /// If it has no host, or no port is free here.
    pub async fn before(config: &Config) -> Self {
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let server = match config.get_hosts().first().expect("a host") {
            Host::Tcp(host) => Server::Tcp(host.clone(), port),
            Host::Unix(folder) => Server::Unix(folder.join(format!(".s.PGSQL.{port}"))),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let weather = Arc::new(watch::Sender::new(Weather::default()));
        let connections = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, server, Arc::clone(&weather), Arc::clone(&connections)));
        Self {
            address,
            weather,
            connections,
            task,
        }
    }

    /// The same database, by way of this proxy.
    #[must_use]
    pub fn config(&self, config: &Config) -> Config {
        let mut through = Config::new();
        through.host(self.address.ip().to_string()).port(self.address.port());
        if let Some(user) = config.get_user() {
            through.user(user);
        }
        if let Some(password) = config.get_password() {
            through.password(password);
        }
        if let Some(name) = config.get_dbname() {
            through.dbname(name);
        }
        through
    }

    /// From now on nothing arrives, and nothing is lost: it comes late, after [`heal`](Self::heal). As packets that are
    /// sent again and again until the network is back.
    pub fn hold(&self) {
        self.weather.send_modify(|weather| weather.hold_below = u64::MAX);
    }

    /// The same for the connections of this moment, and not for those that are made later.
    pub fn hold_present(&self) {
        let next = self.connections.load(Ordering::Acquire);
        self.weather.send_modify(|weather| weather.hold_below = next);
    }

    /// What is sent this way from now on is swallowed. Connections stay open, and one that has lost something never
    /// says a word again, also after [`heal`](Self::heal).
    pub fn lose(&self, way: Way) {
        self.weather.send_modify(|weather| match way {
            Way::ToServer => weather.lose_to_server = true,
            Way::ToNode => weather.lose_to_node = true,
        });
    }

    /// The same for the connection that was made last, and for those that are made later.
    pub fn lose_on_newest(&self, way: Way) {
        let newest = self.connections.load(Ordering::Acquire).saturating_sub(1);
        self.weather.send_modify(|weather| weather.lose_from = newest);
        self.lose(way);
    }

    /// [`lose`](Self::lose), both ways.
    pub fn swallow(&self) {
        self.lose(Way::ToServer);
        self.lose(Way::ToNode);
    }

    /// Whatever is sent takes so long each way.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Cuts all connections of this moment.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.generation += 1);
    }

    /// Turns away new connections.
    pub fn refuse(&self) {
        self.weather.send_modify(|weather| weather.refuse = true);
    }

    /// Fair weather again.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| {
            *weather = Weather {
                generation: weather.generation,
                ..Weather::default()
            };
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    server: Server,
    weather: Arc<watch::Sender<Weather>>,
    connections: Arc<AtomicU64>,
) {
    loop {
        let Ok((node, _)) = listener.accept().await else {
            continue;
        };
        // It is about late and lost bytes, not about Nagle's.
        let _ = node.set_nodelay(true);
        if weather.borrow().refuse {
            continue;
        }
        let (server, weather) = (server.clone(), weather.subscribe());
        let number = connections.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            match server {
                Server::Tcp(host, port) => {
                    let Ok(server) = TcpStream::connect((host, port)).await else {
                        return;
                    };
                    let _ = server.set_nodelay(true);
                    join(node, server, number, weather).await;
                }
                Server::Unix(path) => {
                    let Ok(server) = UnixStream::connect(path).await else {
                        return;
                    };
                    join(node, server, number, weather).await;
                }
            }
        });
    }
}

/// Passes bytes both ways until both ends are done, or the connection is cut.
async fn join<S>(node: TcpStream, server: S, number: u64, weather: watch::Receiver<Weather>)
where
    S: AsyncRead + AsyncWrite + Send,
{
    let generation = weather.borrow().generation;
    let ((from_node, to_node), (from_server, to_server)) = (split(node), split(server));
    let passing = async {
        tokio::join!(
            pass(from_node, to_server, Way::ToServer, number, weather.clone()),
            pass(from_server, to_node, Way::ToNode, number, weather.clone()),
        )
    };
    let mut weather = weather.clone();
    tokio::select! {
        _ = passing => {}
        // An error: the proxy is gone.
        _ = weather.wait_for(|weather| weather.generation != generation) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    number: u64,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut lost = false;
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let came = Instant::now();
        // An error: the proxy is gone.
        let now = weather.wait_for(|weather| number >= weather.hold_below).await;
        let Ok(now) = now.map(|weather| *weather) else { return };
        lost |= now.loses(number, way);
        if lost {
            if count == 0 {
                // The other end is not told.
                return;
            }
            continue;
        }
        sleep_until(came + now.delay).await;
        if count == 0 {
            // The end of a connection is passed on like all else.
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
