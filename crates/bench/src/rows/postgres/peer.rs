//! [`Peer`]: the other program, which measures a round when it is told to, or serves a route.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use testkit::postgres::{Database, Server};
use tokio_postgres::config::Host;

use super::{VALUE, callers::Work, redis::Redis};

/// One of tower-sessions' stores, in a process of its own with as many threads.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _database: Option<Database>,
}

impl Peer {
    pub(super) const POSTGRES: &'static str = "tower-sessions";
    pub(super) const REDIS: &'static str = "tower-sessions-redis";

    /// Its PostgreSQL store, filled.
    pub(super) fn postgres(server: &Server, work: Work, callers: usize) -> Self {
        let (mut command, database) = on_postgres(server);
        let mut peer = Self::start(work_of(&mut command, work, callers), Some(database));
        assert_eq!(peer.line(), "ready");
        peer
    }

    /// Its Redis store, filled.
    pub(super) fn redis(redis: &Redis, work: Work, callers: usize) -> Self {
        let mut command = Command::new(program());
        command.arg("redis").arg(redis.socket());
        let mut peer = Self::start(work_of(&mut command, work, callers), None);
        assert_eq!(peer.line(), "ready");
        peer
    }

    /// Its PostgreSQL store under a route, and where that is served.
    pub(super) fn route_on_postgres(server: &Server) -> (Self, String) {
        let (mut command, database) = on_postgres(server);
        let mut peer = Self::start(command.arg("Route"), Some(database));
        let address = peer.line();
        (peer, address)
    }

    /// Its Redis store under a route, and where that is served.
    pub(super) fn route_on_redis(redis: &Redis) -> (Self, String) {
        let mut command = Command::new(program());
        let mut peer = Self::start(command.arg("redis").arg(redis.socket()).arg("Route"), None);
        let address = peer.line();
        (peer, address)
    }

    fn start(command: &mut Command, database: Option<Database>) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("the peer was built");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            child,
            input,
            output,
            _database: database,
        }
    }

    /// Operations a second.
    pub(super) fn round(&mut self, length: Duration) -> f64 {
        writeln!(self.input, "{}", length.as_millis()).expect("the peer runs");
        self.line().parse().expect("the peer prints a number")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the peer runs");
        line.trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn work_of(command: &mut Command, work: Work, callers: usize) -> &mut Command {
    command.arg(format!("{work:?}")).arg(callers.to_string()).arg(VALUE)
}

fn on_postgres(server: &Server) -> (Command, Database) {
    let database = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(server.database())
        });
        made.join().expect("a database")
    });
    let config = server.config();
    let Host::Unix(folder) = &config.get_hosts()[0] else {
        panic!("our own server has a socket")
    };
    let mut command = Command::new(program());
    command.arg("postgres").arg(folder).arg(database.name());
    (command, database)
}

/// The other program, built if need be.
fn program() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres-peer/Cargo.toml");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/postgres-peer");
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the peer can't be built");
    target.join("release/postgres-peer")
}
