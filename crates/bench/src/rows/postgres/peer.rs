//! [`Peer`]: the other program, which measures a round when it is told to.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use testkit::postgres::{Database, Server};
use tokio_postgres::config::Host;

use super::{VALUE, callers::Work};

/// tower-sessions' PostgreSQL store, in a process of its own with as many threads.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _database: Database,
}

impl Peer {
    pub(super) const NAME: &'static str = "tower-sessions";

    /// Builds it if need be, and has it fill its store.
    pub(super) fn start(server: &Server, work: Work, callers: usize) -> Self {
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
        let mut child = Command::new(target.join("release/postgres-peer"))
            .arg(folder)
            .arg(database.name())
            .arg(format!("{work:?}"))
            .arg(callers.to_string())
            .arg(VALUE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer was built");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut peer = Self {
            child,
            input,
            output,
            _database: database,
        };
        assert_eq!(peer.line(), "ready");
        peer
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
