//! Two nodes of the shop as processes of their own, and the PostgreSQL server that they share.
//!
//! # Invariant
//! Nothing is left behind, also after `kill -9` of this program: the nodes stop when their standard input ends, and the
//! server is taken away by its watcher.

use std::{
    env,
    error::Error,
    process::{self, Stdio},
    time::Duration,
};

use private_postgres::{Disk, PrivateServer};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
};

use crate::{options::Nodes, say, stop_signal};

/// The server outlives this program by so much: the time in which nodes end in order.
const GRACE: Duration = Duration::from_secs(8);

struct Node {
    number: u16,
    url: String,
    child: Child,
    /// Open: it goes on.
    stdin: Option<ChildStdin>,
}

pub(crate) async fn run(options: Nodes) -> Result<(), Box<dyn Error>> {
    // First, so that Ctrl-C is never the end of this program alone.
    let stop = stop_signal(options.until_stdin_ends)?;
    let folder = env::temp_dir().join(format!("shop-postgres-{}", process::id()));
    let starting = tokio::task::spawn_blocking(move || PrivateServer::start(&folder, Disk::Durable, GRACE));
    let server = starting.await??;
    let (mut nodes, url) = (Vec::new(), server.url());
    let worked = tokio::select! {
        worked = work(&options, &url, &mut nodes) => worked,
        () = stop => Ok(()),
    };
    for node in nodes {
        end(node).await;
    }
    // It waits for the server's end.
    tokio::task::spawn_blocking(move || server.end()).await?;
    worked
}

/// Starts both, says what to try, and waits until neither is left.
async fn work(options: &Nodes, store: &str, nodes: &mut Vec<Node>) -> Result<(), Box<dyn Error>> {
    for number in 1..=2 {
        nodes.push(start(options, store, number).await?);
    }
    for Node { number, url, child, .. } in &*nodes {
        let pid = child.id().unwrap_or_default();
        say(format_args!("node {number} is listening on {url} (process {pid})"))?;
    }
    let pid = nodes.first().and_then(|node| node.child.id()).unwrap_or_default();
    say(format_args!(
        "\nOpen both in one browser. A cookie knows no port, so they are one session:
  - put something into the cart at one node, and see it at the other
  - sign in at one, and open \"your sessions\" at the other; in another browser sign in with the same name, and sign out
    everywhere else
  - kill node 1 (`kill -9 {pid}`), and go on at the other: nothing that was answered is lost
Look at the sessions: psql '{store}' -c 'SELECT * FROM session_process.sessions'
Ctrl-C ends all of it, and nothing stays.\n"
    ))?;
    let [one, two] = &mut nodes[..] else { return Ok(()) };
    let (gone, other) = tokio::select! {
        _ = one.child.wait() => (one, two),
        _ = two.child.wait() => (two, one),
    };
    say(format_args!(
        "node {} is gone; go on at {}: what was answered is there",
        gone.number, other.url
    ))?;
    other.child.wait().await?;
    Err("both nodes are gone".into())
}

async fn start(options: &Nodes, store: &str, number: u16) -> Result<Node, Box<dyn Error>> {
    // Port 0: a free one for each.
    let port = match options.port {
        0 => 0,
        first => first
            .checked_add(number - 1)
            .ok_or("there is no port after this one for the second node")?,
    };
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["--until-stdin-ends", "--store", store])
        .args(["--host", &options.host.to_string(), "--port", &port.to_string()])
        .args(options.developer.then_some("--developer"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let Some(first) = lines.next_line().await? else {
        // It has said on standard error why.
        return Err(format!("node {number} did not start").into());
    };
    let url = first.strip_prefix("listening on ").unwrap_or(&first).to_owned();
    // Where its sessions are. What it says later is passed on; a pipe that nobody reads would stop it.
    lines.next_line().await?;
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            let _ = say(format_args!("node {number}: {line}"));
        }
    });
    // `wait` would close it.
    let stdin = child.stdin.take();
    Ok(Node {
        number,
        url,
        child,
        stdin,
    })
}

/// In order, or after a while all the same.
async fn end(mut node: Node) {
    drop(node.stdin.take());
    if tokio::time::timeout(GRACE, node.child.wait()).await.is_err() {
        let _ = node.child.kill().await;
    }
}
