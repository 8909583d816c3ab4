//! The private server.
#![cfg(all(unix, feature = "postgres"))]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use private_postgres::PrivateServer;
use testkit::postgres::{Disk, Pooler, Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_test_gets_an_empty_database_of_its_own() {
    let server = Server::shared().await;
    let (one, other) = (server.database().await, server.database().await);
    one.connect()
        .await
        .batch_execute("CREATE TABLE t (i int)")
        .await
        .unwrap();
    let there = other
        .connect()
        .await
        .query_one("SELECT to_regclass('t')::text", &[])
        .await
        .unwrap();
    assert_eq!(there.get::<_, Option<String>>(0), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_goes_with_its_test() {
    let server = Server::shared().await;
    let database = server.database().await;
    let name = database.name().to_owned();
    let _in_use = database.connect().await;
    drop(database);
    let found = server
        .connect()
        .await
        .query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
        .await;
    assert!(found.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_server_stops_and_starts_and_its_folder_goes_with_it() {
    let server = Server::private(Disk::Durable).await;
    let client = server.connect().await;
    client.batch_execute("CREATE TABLE t (i int)").await.unwrap();
    server.crash();
    assert!(server.config().connect(tokio_postgres::NoTls).await.is_err());
    server.start();
    server
        .connect()
        .await
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let tokio_postgres::config::Host::Unix(folder) = server.config().get_hosts()[0].clone() else {
        panic!("a socket")
    };
    assert!(folder.is_dir());
    drop(server);
    // The watcher's part; nextest's own limit ends a wait for what never comes.
    while folder.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// However long its grace is.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_ended_takes_its_watcher_along() {
    let folder = std::env::temp_dir().join(format!("testkit-ended-{}", std::process::id()));
    let grace = std::time::Duration::from_secs(3600);
    let start = || PrivateServer::start(&folder, Disk::Careless, grace).expect("a server");
    let server = tokio::task::block_in_place(start);
    assert!(processes_of(&folder) > 1, "the server, and its watcher");
    tokio::task::block_in_place(|| server.end());
    assert!(!folder.exists());
    while processes_of(&folder) > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// How many processes have the folder in their command line.
fn processes_of(folder: &Path) -> usize {
    let name = folder.to_str().expect("plain text");
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let commands = processes.filter_map(|process| std::fs::read(process.ok()?.path().join("cmdline")).ok());
    commands
        .filter(|command| String::from_utf8_lossy(command).contains(name))
        .count()
}

const KILLED: &str = "TESTKIT_POOLER_KILLED";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of the next test, which is killed"]
async fn child_with_a_pooler() {
    if std::env::var_os(KILLED).is_none() {
        return;
    }
    let server = Server::shared().await;
    let pooler = Pooler::before(&server.config()).await;
    let tokio_postgres::config::Host::Unix(folder) = pooler.config(&server.config()).get_hosts()[0].clone() else {
        panic!("a socket")
    };
    writeln!(std::io::stdout(), "folder {}", folder.display()).expect("the parent reads");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_passes_on_what_it_is_asked_and_goes_with_its_test_also_when_that_is_killed() {
    let server = Server::shared().await;
    let pooler = Pooler::before(&server.config()).await;
    let (client, connection) = pooler
        .config(&server.config())
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    assert_eq!(
        client.query_typed_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0),
        1
    );
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_with_a_pooler", "--ignored", "--nocapture"])
        .env(KILLED, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let folder = output
        .lines()
        .find_map(|line| Some(PathBuf::from(line.ok()?.split_once("folder ")?.1)))
        .expect("it says where");
    let pid = std::fs::read_to_string(folder.join("pid")).unwrap();
    let pid: u32 = pid.trim().parse().expect("a process's number");
    assert!(runs(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    while folder.exists() || runs(pid) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Not whether `/proc` has a folder: that stays for as long as nobody has waited for the process, and an orphan's new
/// parent is often a container's first program, which waits for nobody. What has ended has no command line.
fn runs(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}
