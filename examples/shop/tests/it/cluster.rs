//! `shop cluster`: two nodes and their PostgreSQL, all of which go with it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::running::Client;

struct Cluster {
    child: Child,
    _stdin: ChildStdin,
    urls: Vec<String>,
    pids: Vec<String>,
}

impl Cluster {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
            // It goes with the test, whatever becomes of that.
            .args(["cluster", "--port", "0", "--until-stdin-ends"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut urls, mut pids) = (Vec::new(), Vec::new());
        while urls.len() < 2 {
            let line = lines.next().expect("two nodes").unwrap();
            // node 1 is listening on http://… (process 123)
            let (_, rest) = line.split_once("listening on ").expect("an address");
            let (url, rest) = rest.split_once(" (process ").expect("a process");
            urls.push(url.to_owned());
            pids.push(rest.trim_end_matches(')').to_owned());
        }
        // The rest is read, so that nothing waits for a full pipe.
        thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            _stdin: stdin,
            urls,
            pids,
        }
    }

    fn folder(&self) -> PathBuf {
        std::env::temp_dir().join(format!("shop-postgres-{}", self.child.id()))
    }

    fn signal(&self, pid: &str, signal: &str) {
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    /// Nextest ends a wait for what never comes.
    fn is_gone(&self) {
        while self.folder().exists() || self.pids.iter().any(|pid| runs(pid)) {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open page, read line by line.
struct Page(std::io::Lines<BufReader<TcpStream>>);

impl Page {
    fn open(url: &str, cookie: &str) -> Self {
        let host = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET /live HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\n\r\n").unwrap();
        Self(BufReader::new(stream).lines())
    }

    fn until(&mut self, text: &str) {
        loop {
            let line = self.0.next().expect("the stream goes on").expect("something in time");
            if line.contains(text) {
                return;
            }
        }
    }
}

/// A zombie runs no more: in a container, nobody may reap it.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn two_nodes_share_a_session_and_go_on_when_one_is_killed() {
    let mut cluster = Cluster::start();
    let mut one = Client::new(&cluster.urls[0], "");
    one.add("mug").unwrap();
    let mut two = Client::new(&cluster.urls[1], &one.cookie);
    assert_eq!(two.add("tea").unwrap()["items"], json!(["mug", "tea"]));
    // A page at the one is told what was taken at the other.
    let mut page = Page::open(&cluster.urls[0], &one.cookie);
    page.until("event: state");
    two.add("bowl").unwrap();
    page.until("event: event");
    page.until("\"just_taken\":\"bowl\"");
    drop(page);
    cluster.signal(&cluster.pids[0], "-KILL");
    assert_eq!(two.add("candle").unwrap()["count"], 4);

    // In order: as by Ctrl-C.
    cluster.signal(&cluster.child.id().to_string(), "-TERM");
    assert_eq!(cluster.child.wait().unwrap().code(), Some(0));
    cluster.is_gone();
}

#[test]
fn nothing_is_left_behind_by_kill_9_either() {
    let mut cluster = Cluster::start();
    cluster.child.kill().unwrap();
    cluster.child.wait().unwrap();
    cluster.is_gone();
}

#[test]
fn a_cluster_has_its_own_store() {
    let output = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["cluster", "--store", "memory"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--store"));
}
