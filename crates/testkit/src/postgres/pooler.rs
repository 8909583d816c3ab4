//! [`Pooler`]: PgBouncer between a node and its database, in transaction mode.

use std::{
    env, fs,
    io::Write,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use tokio_postgres::{Config, config::Host};

/// A part of the name of its socket, and of no network's port.
const PORT: u16 = 6432;
/// It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A PgBouncer of a test's own, on a socket in a folder of its own. Ends when it is dropped, and with the process.
/// It tries again each second to reach a server that is away.
///
/// It gives each transaction the connection to the database that was not used for longest, so two transactions of one
/// client are on different ones; and it forgets nothing that a client leaves on them.
#[derive(Debug)]
pub struct Pooler {
    folder: PathBuf,
    child: process::Child,
    /// Locked: the test lives.
    _alive: fs::File,
}

/// Waits until nobody holds `alive`, and takes everything away. In shell, so that it outlives a `kill -9` of the test.
const WATCHER: &str = r#"
flock -x "$1/alive" true
pid=$(cat "$1/pid" 2>/dev/null)
if [ -n "$pid" ] && grep -q -a "$1" "/proc/$pid/cmdline" 2>/dev/null; then kill -KILL "$pid"; fi
rm -rf "$1"
"#;

impl Pooler {
    /// As many connections to the database has it at most: fewer than a node asks for, so that they change hands.
    pub const CONNECTIONS: usize = 3;

    /// Before the server of this configuration, for all of its databases.
    ///
    /// # Panics
    /// If PgBouncer isn't installed, or doesn't start; the message says what to do.
    pub async fn before(config: &Config) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("session-process-pgbouncer-{}-{next}", process::id()));
        let program = find().expect(
            "no PgBouncer for this test: `cargo xtask test` installs it on Debian as root; elsewhere install it (on \
             Debian `apt-get install pgbouncer`)",
        );
        let file = "a temporary folder can be written";
        fs::create_dir(&folder).expect(file);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect(file);
        let alive = fs::File::create(folder.join("alive")).expect(file);
        flock(&alive, FlockOperation::LockExclusive).expect("nobody else has it");
        watch(&folder).expect("a shell");
        // It refuses to run as root.
        let account = private_postgres::unprivileged_account();
        let settings = folder.join("pgbouncer.ini");
        let mut options = fs::OpenOptions::new();
        // It may hold a password.
        let mut written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&settings)
            .expect(file);
        written.write_all(ini(&folder, config).as_bytes()).expect(file);
        let mut command = Command::new(program);
        command.arg("-q").arg(&settings).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((user, group)) = account {
            for path in [&folder, &settings] {
                chown(path, Some(user), Some(group)).expect(file);
            }
            command.uid(user).gid(group);
        }
        let child = command.spawn().expect("PgBouncer can be run");
        let mut pooler = Self {
            folder,
            child,
            _alive: alive,
        };
        pooler.wait().await;
        pooler
    }

    /// The same database, by way of this pooler.
    #[must_use]
    pub fn config(&self, config: &Config) -> Config {
        let mut through = Config::new();
        through.host_path(&self.folder).port(PORT);
        through.user(config.get_user().unwrap_or("postgres"));
        if let Some(name) = config.get_dbname() {
            through.dbname(name);
        }
        through
    }

    async fn wait(&mut self) {
        let begun = Instant::now();
        // A file that is there and empty: it is about to write its number.
        let said = || fs::read_to_string(self.folder.join("pid")).is_ok_and(|pid| pid.ends_with('\n'));
        while !self.folder.join(format!(".s.PGSQL.{PORT}")).exists() || !said() {
            let ended = self.child.try_wait().expect("it is our child");
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "PgBouncer ended ({ended:?}): {}", log());
            assert!(begun.elapsed() < PATIENCE, "PgBouncer doesn't start: {}", log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // An error: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What fails here, the watcher does.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn watch(folder: &Path) -> std::io::Result<()> {
    let mut watcher = Command::new("setsid");
    watcher
        .args(["sh", "-c", WATCHER, "watcher"])
        .arg(folder)
        .current_dir("/");
    watcher.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    watcher.spawn().map(drop)
}

fn ini(folder: &Path, config: &Config) -> String {
    let host = match config.get_hosts().first().expect("a host") {
        Host::Tcp(host) => host.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    let mut database = format!("host={host} port={}", config.get_ports().first().unwrap_or(&5432));
    // For whoever comes: the socket is the test's.
    database += &format!(" user={}", quoted(config.get_user().unwrap_or("postgres")));
    if let Some(password) = config.get_password() {
        database += &format!(" password={}", quoted(&String::from_utf8_lossy(password)));
    }
    let (folder, connections) = (folder.display(), Pooler::CONNECTIONS);
    format!(
        "[databases]\n* = {database}\n\
         [pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = {PORT}\npidfile = {folder}/pid\nlogfile = {folder}/log\n\
         auth_type = any\npool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = {connections}\n\
         server_round_robin = 1\nserver_login_retry = 1\n"
    )
}

/// As PgBouncer's connection strings have it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    // Debian's, which is not in everybody's path.
    folders.push(PathBuf::from("/usr/sbin"));
    folders
        .into_iter()
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
}
