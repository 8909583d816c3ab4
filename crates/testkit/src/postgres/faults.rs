//! What a test does to a server of its own.

use rustix::process::{Pid, Signal, kill_process};

use super::Server;

impl Server {
    /// Stops it as an administrator does: sessions are ended, nothing is lost.
    ///
    /// # Panics
    /// If it is not a [`private`](Self::private) server, or doesn't stop.
    pub fn stop(&self) {
        self.cluster().stop("fast").expect("the server stops");
    }

    /// Stops it as a crash does. What was acknowledged is found again at the next start.
    ///
    /// # Panics
    /// As [`stop`](Self::stop).
    pub fn crash(&self) {
        self.cluster().stop("immediate").expect("the server stops");
    }

    /// Starts it again and waits until it takes connections.
    ///
    /// # Panics
    /// If it doesn't.
    pub fn start(&self) {
        self.cluster().again().expect("the server starts");
    }

    /// Starts it again with TLS on this port of 127.0.0.1, beside its socket. `certificate` and `key` are PEM.
    ///
    /// # Panics
    /// If it doesn't, or is not a [`private`](Self::private) server.
    pub fn start_with_tls(&self, port: u16, certificate: &str, key: &str) {
        let (cluster, file) = (self.cluster(), "the server's folder can be written");
        let certificate = cluster.keep_file("test.crt", certificate).expect(file);
        let key = cluster.keep_file("test.key", key).expect(file);
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file='{}' -c ssl_key_file='{}'",
            certificate.display(),
            key.display()
        );
        cluster.again_with(&options).expect("the server starts");
    }

    /// Freezes all its processes: connections stay and nothing is answered.
    ///
    /// # Panics
    /// If it is not a [`private`](Self::private) server.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends what [`freeze`](Self::freeze) began.
    ///
    /// # Panics
    /// If it is not a [`private`](Self::private) server.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// From now on none of its processes writes into a file beyond so many bytes: what a full disk comes to, and needs no
    /// rights. `None`: without a limit again. Not below 17 MiB, or the server's log meets it too, and the server crashes.
    ///
    /// # Panics
    /// If it is not a [`private`](Self::private) server.
    pub fn limit_files(&self, bytes: Option<u64>) {
        self.cluster().limit_files(bytes).expect("limits can be set");
    }

    fn signal(&self, signal: Signal) {
        for process in self.cluster().processes() {
            if let Some(pid) = Pid::from_raw(process) {
                // An error: a connection's process has ended just now.
                let _ = kill_process(pid, signal);
            }
        }
    }
}
