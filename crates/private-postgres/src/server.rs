//! [`PrivateServer`]: a data folder and the server on it.
//!
//! Three files in its folder are locked: `starting` by whoever starts or stops the server; `alive`, shared, by each
//! process that uses it; `watched` by the watcher as long as it lives.

use std::{
    fmt::Write,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use crate::binaries;

/// A running server. Keep it as long as the server is used.
#[derive(Debug)]
pub struct PrivateServer {
    folder: PathBuf,
    binaries: PathBuf,
    account: Option<(u32, u32)>,
    disk: Disk,
    /// Held: somebody uses the server.
    alive: Option<File>,
}

/// How a server treats the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// As in production: `fsync` at each commit.
    Durable,
    /// No `fsync`: what a test needs that doesn't pull the plug.
    Careless,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not installed.
    #[error(
        "no PostgreSQL server is installed: its programs (initdb, pg_ctl, postgres) are neither in PATH nor in \
         /usr/lib/postgresql; install the package `postgresql` (Debian, Ubuntu: `apt-get install postgresql`)"
    )]
    NotInstalled,
    /// A file can't be made or locked.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One of its programs failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        said: String,
    },
}

/// Waits until nobody holds `alive`, and some time longer; then takes everything away. In shell, so that it is a
/// process of its own that outlives a `kill -9` of the one that started it.
const WATCHER: &str = r#"
exec 9>"$1/watched"; flock -n 9 || exit 0
while [ -d "$1" ]; do
    flock -x "$1/alive" true || exit 0
    # Whoever ended the server takes the folder along: nothing is left to wait for.
    left=$(($2 * 10))
    while [ "$left" -gt 0 ] && [ -d "$1" ]; do sleep 0.1; left=$((left - 1)); done
    [ -d "$1" ] || exit 0
    exec 8>"$1/starting"; flock -x 8
    exec 7>"$1/alive"
    if flock -n -x 7; then
        pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
        if [ -n "$pid" ]; then
            for child in $(cat /proc/$pid/task/$pid/children 2>/dev/null) "$pid"; do kill -CONT "$child"; done
            kill -QUIT "$pid"
            # It has ended too when nobody waits for it, as a container's first program may not.
            while kill -0 "$pid" 2>/dev/null && ! grep -q "^State:.Z" "/proc/$pid/status" 2>/dev/null; do
                sleep 0.05
            done
        fi
        rm -rf "$1"
        exit 0
    fi
    exec 7>&- 8>&-
done
"#;

impl PrivateServer {
    /// Starts a server in a folder that is made for it, or joins the one that runs there. `grace`: how long the server
    /// outlives the last process that uses it, in whole seconds.
    ///
    /// Blocks for some seconds, while the cluster is made.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(folder: &Path, disk: Disk, grace: Duration) -> Result<Self, Error> {
        let mut server = Self {
            folder: folder.to_owned(),
            binaries: binaries::find().ok_or(Error::NotInstalled)?,
            account: unprivileged_account(),
            disk,
            alive: None,
        };
        let wrong = |source: io::Error| Error::File {
            path: folder.to_owned(),
            source,
        };
        loop {
            fs::create_dir_all(folder).map_err(wrong)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(wrong)?;
            let starting = lock_file(&folder.join("starting")).map_err(wrong)?;
            flock(&starting, FlockOperation::LockExclusive).map_err(|error| wrong(error.into()))?;
            // The watcher may have taken the folder away while we waited.
            let Ok(alive) = lock_file(&folder.join("alive")) else {
                continue;
            };
            flock(&alive, FlockOperation::LockShared).map_err(|error| wrong(error.into()))?;
            if !is(&starting, &folder.join("starting")) || !is(&alive, &folder.join("alive")) {
                continue;
            }
            // First: whoever is killed while the cluster is made leaves nothing behind either.
            server.watch(grace).map_err(wrong)?;
            if !server.runs() {
                server.make()?;
                server.again()?;
            }
            server.alive = Some(alive);
            return Ok(server);
        }
    }

    /// Where its socket is.
    #[must_use]
    pub fn sockets(&self) -> &Path {
        &self.folder
    }

    /// How to connect to it, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = String::from("postgres://postgres@");
        for byte in self.folder.as_os_str().as_bytes() {
            let _ = match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => write!(url, "{}", char::from(*byte)),
                _ => write!(url, "%{byte:02X}"),
            };
        }
        url + "/postgres"
    }

    /// Ends the server, with all that is in it. Only for its last user.
    pub fn end(self) {
        // Nothing in it is to be kept. What fails here, the watcher does.
        if self.stop("immediate").is_ok() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn runs(&self) -> bool {
        self.command("pg_ctl")
            .args(["status", "-D"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn make(&self) -> Result<(), Error> {
        let data = self.data();
        let _ = fs::remove_dir_all(&data);
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        fs::create_dir(&data).map_err(wrong(&data))?;
        if let Some((user, group)) = self.account {
            for folder in [&self.folder, &data] {
                chown(folder, Some(user), Some(group)).map_err(wrong(folder))?;
            }
        }
        run(
            "initdb",
            self.command("initdb")
                .args([
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                    "-D",
                ])
                .arg(&data),
        )
    }

    /// Starts it again, after [`stop`](Self::stop), and waits until it takes connections.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn again(&self) -> Result<(), Error> {
        self.again_with("")
    }

    /// The same with more options of `postgres`, which go before those that it has otherwise. For this time only.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn again_with(&self, more: &str) -> Result<(), Error> {
        let fsync = match self.disk {
            Disk::Durable => "",
            Disk::Careless => "-c fsync=off -c synchronous_commit=off -c full_page_writes=off",
        };
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c max_connections=400 -c shared_buffers=256MB \
             -c max_wal_size=4GB -c log_min_messages=warning {fsync} {more}",
            self.folder.display()
        );
        run(
            "pg_ctl",
            self.command("pg_ctl")
                .args(["start", "-w", "-t", "60", "-D"])
                .arg(self.data())
                .arg("-l")
                .arg(self.data().join("log"))
                .args(["-o", &options]),
        )
    }

    /// Writes a file that the server alone may read, and returns its path: a key, say.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn keep_file(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.data().join(name);
        let wrong = |source| Error::File {
            path: path.clone(),
            source,
        };
        let _ = fs::remove_file(&path);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(wrong)?;
        file.write_all(text.as_bytes()).map_err(wrong)?;
        if let Some((user, group)) = self.account {
            chown(&path, Some(user), Some(group)).map_err(wrong)?;
        }
        Ok(path)
    }

    /// Stops it, in a mode of `pg_ctl`: `immediate` is a crash, `fast` what an administrator does.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn stop(&self, mode: &str) -> Result<(), Error> {
        run(
            "pg_ctl",
            self.command("pg_ctl")
                .args(["stop", "-w", "-m", mode, "-D"])
                .arg(self.data()),
        )
    }

    /// The postmaster's process, and those of its children.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let Some(postmaster) = file.lines().next().and_then(|line| line.parse::<i32>().ok()) else {
            return Vec::new();
        };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(postmaster).chain(children).collect()
    }

    /// From now on none of its processes writes into a file beyond so many bytes, as if the disk were full. `None`: without
    /// a limit again. Below 17 MiB the server's log meets it too, and the server crashes. By `prlimit` of util-linux.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<(), Error> {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        for process in self.processes() {
            // By the same account: root may not be allowed to.
            let mut command = self.as_account("prlimit".as_ref());
            command
                .arg(format!("--pid={process}"))
                .arg(format!("--fsize={limit}:unlimited"));
            let limited = run("prlimit", &mut command);
            // A connection's process may have ended just now.
            if limited.is_err() && self.processes().contains(&process) {
                return limited;
            }
        }
        Ok(())
    }

    fn watch(&self, grace: Duration) -> io::Result<()> {
        Command::new("setsid")
            .args(["sh", "-c", WATCHER, "watcher"])
            .arg(&self.folder)
            .arg(grace.as_secs().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(drop)
    }

    fn command(&self, program: &str) -> Command {
        self.as_account(&self.binaries.join(program))
    }

    fn as_account(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // Not the folder that the test runs in: the other account may not be allowed there.
        command.current_dir("/").stdin(Stdio::null()).env_remove("PGDATA");
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Whether the open file is still the one under this path.
fn is(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let there = fs::metadata(path).map(|there| there.ino());
    there.is_ok_and(|there| file.metadata().is_ok_and(|open| open.ino() == there))
}

/// User and group for a server where we are root: those of `postgres`, or of `nobody`. `None`: we are not root.
#[must_use]
pub fn unprivileged_account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).unwrap_or((65534, 65534)))
}

fn run(program: &'static str, command: &mut Command) -> Result<(), Error> {
    // The server keeps what it is given: with a pipe for its output, the wait for the pipe's end would be for ever.
    let log = std::env::temp_dir().join(format!(
        "private-postgres-log-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let wrong = |source| Error::File {
        path: log.clone(),
        source,
    };
    let output = File::create(&log).map_err(wrong)?;
    let errors = output.try_clone().map_err(wrong)?;
    let status = command.stdout(output).stderr(errors).status();
    let said = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Program {
            program,
            said: format!("{status}\n{said}"),
        }),
        Err(error) => Err(Error::Program {
            program,
            said: error.to_string(),
        }),
    }
}

/// Opens a file that processes hold locks on.
fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).open(path)
}
