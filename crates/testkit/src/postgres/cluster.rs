//! [`Cluster`]: a data folder and the server on it.
//!
//! Three files in its folder are locked: `starting` by whoever starts or stops the server; `alive`, shared, by each
//! process that uses it; `watched` by the watcher as long as it lives.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::PermissionsExt, fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::{Disk, binaries, lock_file};

/// A data folder and the server on it.
#[derive(Debug)]
pub(super) struct Cluster {
    folder: PathBuf,
    binaries: PathBuf,
    account: Option<(u32, u32)>,
    disk: Disk,
}

/// Waits until nobody holds `alive`, and some time longer; then takes everything away. In shell, so that it is a
/// process of its own that outlives a `kill -9` of the one that started it.
const WATCHER: &str = r#"
exec 9>"$1/watched"; flock -n 9 || exit 0
while [ -d "$1" ]; do
    flock -x "$1/alive" true || exit 0
    sleep "$2"
    exec 8>"$1/starting"; flock -x 8
    exec 7>"$1/alive"
    if flock -n -x 7; then
        pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
        if [ -n "$pid" ]; then
            for child in $(cat /proc/$pid/task/$pid/children 2>/dev/null) "$pid"; do kill -CONT "$child"; done
            kill -QUIT "$pid"
            while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
        fi
        rm -rf "$1"
        exit 0
    fi
    exec 7>&- 8>&-
done
"#;

impl Cluster {
    /// Starts the server unless it runs, and holds it alive by the file that is returned.
    pub(super) fn begin(folder: &Path, disk: Disk, grace: Duration) -> Result<(Self, File), String> {
        let cluster = Self {
            folder: folder.to_owned(),
            binaries: binaries::find()?,
            account: unprivileged(),
            disk,
        };
        let wrong = |error: io::Error| format!("{}: {error}", folder.display());
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
            if !cluster.runs() {
                cluster.make()?;
                cluster.start()?;
            }
            cluster.watch(grace).map_err(wrong)?;
            return Ok((cluster, alive));
        }
    }

    pub(super) fn sockets(&self) -> &Path {
        &self.folder
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

    fn make(&self) -> Result<(), String> {
        let data = self.data();
        let _ = fs::remove_dir_all(&data);
        fs::create_dir(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        if let Some((user, group)) = self.account {
            for folder in [&self.folder, &data] {
                chown(folder, Some(user), Some(group)).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
        }
        run(self
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data))
    }

    /// Starts it and waits until it takes connections.
    pub(super) fn start(&self) -> Result<(), String> {
        let fsync = match self.disk {
            Disk::Durable => "",
            Disk::Careless => "-c fsync=off -c synchronous_commit=off -c full_page_writes=off",
        };
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c max_connections=400 -c shared_buffers=256MB \
             -c max_wal_size=4GB -c log_min_messages=warning {fsync}",
            self.folder.display()
        );
        run(self
            .command("pg_ctl")
            .args(["start", "-w", "-t", "60", "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(self.data().join("log"))
            .args(["-o", &options]))
    }

    /// Stops it: `immediate` is a crash.
    pub(super) fn stop(&self, mode: &str) -> Result<(), String> {
        run(self
            .command("pg_ctl")
            .args(["stop", "-w", "-m", mode, "-D"])
            .arg(self.data()))
    }

    /// The postmaster's process, and those of its children.
    pub(super) fn processes(&self) -> Vec<i32> {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let Some(postmaster) = file.lines().next().and_then(|line| line.parse::<i32>().ok()) else {
            return Vec::new();
        };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(postmaster).chain(children).collect()
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
        let mut command = Command::new(self.binaries.join(program));
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

/// Who runs the server where we are root: `postgres`, or `nobody`.
fn unprivileged() -> Option<(u32, u32)> {
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

fn run(command: &mut Command) -> Result<(), String> {
    // The server keeps what it is given: with a pipe for its output, the wait for the pipe's end would be for ever.
    let log = std::env::temp_dir().join(format!("session-process-pg-log-{}", std::process::id()));
    let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let status = command.stdout(output).stderr(errors).status();
    let said = fs::read_to_string(&log).unwrap_or_default();
    let _ = fs::remove_file(&log);
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}\n{said}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
