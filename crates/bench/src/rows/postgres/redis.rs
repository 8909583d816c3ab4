//! [`Redis`]: a server that this program starts, on a socket, keeping everything in memory.

use std::{
    env, fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Ends with this value.
pub(super) struct Redis {
    child: Child,
    folder: PathBuf,
}

impl Redis {
    /// # Panics
    /// If there is no Redis; the message says what to install.
    pub(super) fn start() -> Self {
        let folder = env::temp_dir().join(format!("session-process-redis-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let socket = folder.join("socket");
        // Nothing is written to the disk: as quick as it can be.
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("no redis-server for this row ({error}): `apt-get install redis-server`, or leave the row out by `--only`")
        });
        let redis = Self { child, folder };
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "redis-server doesn't start");
            thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    pub(super) fn socket(&self) -> PathBuf {
        Path::new(&self.folder).join("socket")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
