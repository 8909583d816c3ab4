//! `kill -9` of a node under load: all that it acknowledged is there, once, and another node goes on with it.
//!
//! A child process, which is this test once more, adds to sessions from many tasks and writes a line to its standard
//! output after each acknowledgement. It is killed in the midst of that.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use session_process::{
    SessionId,
    records::{NewSession, SessionRecords},
};
use session_process_postgres::PostgresStore;

use crate::support::{fresh, records};

const DATABASE: &str = "SESSION_PROCESS_POSTGRES_KILL";
const SESSIONS: usize = 32;

fn id(n: usize) -> SessionId {
    format!("session-number-{n}").parse().expect("an id")
}

async fn add(records: &SessionRecords, session: usize) -> Option<u64> {
    let id = id(session);
    let added = records.update(&id, |attributes| {
        attributes.update("n", |n: &mut u64| {
            *n += 1;
            *n
        })
    });
    added.await.ok()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of the other test, which is killed"]
async fn child() {
    let Ok(url) = env::var(DATABASE) else { return };
    let records = records(&PostgresStore::open(&url).await.expect("the database is there"));
    let tasks: Vec<_> = (0..SESSIONS)
        .map(|session| {
            let records = records.clone();
            tokio::spawn(async move {
                for _ in 0..u64::MAX {
                    let n = add(&records, session).await.expect("the database is there");
                    // One write, which a pipe takes whole.
                    let line = format!("ack {session} {n}\n");
                    std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
                    std::io::stdout().flush().expect("the parent reads");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task panicked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_of_a_node_that_is_killed_is_there_once() {
    let rounds = testkit::long_or(3, 100);
    let progress = testkit::Progress::new("kills of a node", rounds);
    let fresh = fresh().await;
    let here = records(&fresh.store);
    let admin = fresh.database.connect().await;
    for session in 0..SESSIONS {
        let new = NewSession::new().attribute("n", 0_u64);
        here.create_with_id(id(session), new).await.unwrap();
    }
    for round in 0..rounds {
        let lines = 300 + 211 * usize::try_from(round % 7).unwrap();
        let url = fresh.database.url();
        let acknowledged = tokio::task::spawn_blocking(move || run_and_kill(&url, lines));
        let acknowledged = acknowledged.await.unwrap();
        // What it had sent may still be at work in the server.
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                      application_name = 'session-process' AND state = 'active'";
        while admin.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        for (session, acknowledged) in acknowledged.into_iter().enumerate() {
            let found = here.get_fresh(&id(session)).await.unwrap().expect("it is there");
            let n: u64 = found.get("n").unwrap().unwrap();
            if let Some(acknowledged) = acknowledged {
                // The one that was on its way may have arrived.
                assert!(
                    n == acknowledged || n == acknowledged + 1,
                    "round {round}: {n}, and {acknowledged} were acknowledged"
                );
            }
            assert_eq!(add(&here, session).await, Some(n + 1), "this node goes on");
        }
        progress.step();
    }
}

/// Runs a child until it has written so many lines, kills it, and returns the last acknowledgement of each session.
fn run_and_kill(url: &str, lines: usize) -> Vec<Option<u64>> {
    let mut child = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env(DATABASE, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test runs once more");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let (mut acks, mut count, mut line) = (vec![None; SESSIONS], 0, String::new());
    // To the end: what it wrote before it was killed counts too.
    while output.read_line(&mut line).expect("text") > 0 {
        // The harness writes lines of its own, and the last may be cut off.
        let words: Vec<&str> = line.strip_suffix('\n').unwrap_or("").split(' ').collect();
        if let ["ack", session, n] = words[..] {
            let session: usize = session.parse().expect("a session");
            acks[session] = Some(n.parse().expect("a number"));
            count += 1;
            if count == lines {
                child.kill().expect("it runs");
            }
        }
        line.clear();
    }
    assert!(!child.wait().expect("it ran").success(), "it ended by itself");
    assert!(count >= lines, "the child failed after {count} lines");
    acks
}
