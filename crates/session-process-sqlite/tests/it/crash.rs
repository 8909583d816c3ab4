//! `kill -9` under load: what was acknowledged is in the file, and nothing is half there.
//!
//! A child process changes sessions from many tasks and writes a line to its standard output after each
//! acknowledgement. It is killed after a random number of lines. Then the file is compared with the lines: each
//! session is as its last line says, or as the one change after it that was in flight.
//!
//! `KILL_ROUNDS=500 cargo test -p session-process-sqlite --test it survives_kill` does more rounds than the normal run
//! (nextest would end it after a minute). (A killed
//! process leaves the page cache to the kernel; what a power cut leaves is SQLite's promise, `synchronous = FULL`.)

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use session_process::{
    SessionId,
    store::{Attribute, Create, Edit, Op, Record, SessionKey, Snapshot, Version},
};
use session_process_sqlite::SqliteStore;

use crate::support::{apply, create, edit, get, owner};

const FILE: &str = "SESSION_PROCESS_SQLITE_KILL_FILE";
const TASKS: usize = 32;
/// Rounds of the normal run: some seconds.
const ROUNDS: usize = 10;

/// The id of a task's session: the same in every round, and moved to and fro by rotation.
fn key(task: usize, turn: usize) -> SessionKey {
    SessionKey::of(
        &format!("task-{task}-turn-{}", turn % 2)
            .parse::<SessionId>()
            .expect("an id"),
    )
}

/// What a task does in its `n`th step, and to which key; and what is there afterwards.
fn step(task: usize, n: usize) -> (SessionKey, Op) {
    // A life of a session: created, changed six times, rotated, changed, deleted.
    let turn = n / 10;
    let (here, there) = (key(task, turn), key(task, turn + 1));
    match n % 10 {
        0 => (here, create(state(n))),
        7 => (here, Op::Rotate(there)),
        8 => (there, changed(n)),
        9 => (there, Op::Delete),
        _ => (here, changed(n)),
    }
}

/// What is there after step `n`: under which key, and which number is in all its parts.
fn after(task: usize, n: usize) -> Option<(SessionKey, usize)> {
    let turn = n / 10;
    match n % 10 {
        9 => None,
        8 => Some((key(task, turn + 1), n)),
        // A rotation leaves the contents as they were.
        7 => Some((key(task, turn + 1), n - 1)),
        _ => Some((key(task, turn), n)),
    }
}

fn parts(n: usize) -> (Attribute, Snapshot) {
    let attribute = Attribute {
        json: n.to_string().into(),
        version: Version(0),
        expires_at: None,
    };
    // Larger than a page, so that half of it would show.
    let bytes = n.to_le_bytes().repeat(1000);
    (
        attribute,
        Snapshot {
            kind: "cart".into(),
            schema: 1,
            bytes: bytes.into(),
        },
    )
}

fn state(n: usize) -> Create {
    let (attribute, snapshot) = parts(n);
    Create {
        label: Some(owner(&n.to_string())),
        attributes: [("n".into(), attribute)].into(),
        snapshot: Some(snapshot),
        ..Create::default()
    }
}

fn changed(n: usize) -> Op {
    let (attribute, snapshot) = parts(n);
    edit(Edit {
        label: Some(Some(owner(&n.to_string()))),
        attributes: Some([("n".into(), attribute)].into()),
        snapshot: Some(Some(snapshot)),
        ..Edit::default()
    })
}

/// The number in all parts of a record. Panics if they differ: then it is half there.
fn number(record: &Record) -> usize {
    let n: usize = record
        .label
        .as_ref()
        .expect("a label")
        .as_str()
        .parse()
        .expect("a number");
    assert_eq!(&*record.attributes["n"].json, n.to_string(), "half a change");
    assert_eq!(
        *record.snapshot.as_ref().expect("a snapshot").bytes,
        *parts(n).1.bytes,
        "half a change"
    );
    n
}

/// What a task's session is like in the file.
async fn found(store: &SqliteStore, task: usize) -> Option<(SessionKey, usize)> {
    let (a, b) = (get(store, key(task, 0)).await, get(store, key(task, 1)).await);
    assert!(a.is_none() || b.is_none(), "a rotation is half there");
    a.or(b).map(|record| (record.key, number(&record)))
}

/// The child. It goes on from where the file is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the other tests, which is killed"]
async fn child() {
    let Some(file) = env::var_os(FILE) else { return };
    let begin: usize = env::var("BEGIN").expect("set by the parent").parse().expect("a number");
    let store = SqliteStore::open(Path::new(&file))
        .await
        .expect("the file opens after a crash");
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in begin.. {
                    let (key, op) = step(task, n);
                    apply(&store, key, op).await.expect("no conflict");
                    // One write, which a pipe takes whole.
                    let line = format!("ack {task} {n}\n");
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

#[tokio::test]
async fn every_acknowledged_change_survives_kill_9_and_none_is_half_there() {
    let rounds = env::var("KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("KILL_ROUNDS is a number"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sessions.db");
    let mut seed = std::process::id();
    let mut begin = 0;
    let (mut acknowledged, mut in_flight) = (0, 0);
    for round in 0..rounds {
        // Xorshift: how many lines the child lives for.
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        let acks = run_and_kill(&file, begin, seed as usize % 3000);
        let store = SqliteStore::open(&file).await.expect("the file opens after a crash");
        for task in 0..TASKS {
            let found = found(&store, task).await;
            // Without a line, the session is as the round before left it: absent.
            let (before, next) = match acks.get(&task) {
                Some(last) => (after(task, *last), after(task, last + 1)),
                None => (None, after(task, begin)),
            };
            assert!(
                found == before || found == next,
                "round {round}, task {task}: {found:?}, and acknowledged was {before:?}, then {next:?}",
            );
            acknowledged += usize::from(acks.contains_key(&task));
            in_flight += usize::from(found != before);
        }
        // The next child begins new lives.
        for task in 0..TASKS {
            for turn in 0..2 {
                let _ = apply(&store, key(task, turn), Op::Delete).await;
            }
        }
        begin = acks.values().max().copied().unwrap_or(begin) / 10 * 10 + 20;
        store.shutdown().await;
    }
    assert!(acknowledged > 0, "no child came to anything");
    println!("{rounds} rounds, {acknowledged} sessions with acknowledgements, {in_flight} with a change in flight");
}

/// Runs a child until it has written `lines` lines, kills it, and returns the last step of each task.
fn run_and_kill(file: &Path, begin: usize, lines: usize) -> HashMap<usize, usize> {
    let mut child = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env(FILE, file)
        .env("BEGIN", begin.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test runs once more");
    let mut acks = HashMap::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut count = 0;
    let mut line = String::new();
    // To the end: what it wrote before it was killed counts too.
    while output.read_line(&mut line).expect("text") > 0 {
        // The harness writes lines of its own, and the last may be cut off.
        let words: Vec<&str> = line.strip_suffix('\n').unwrap_or("").split(' ').collect();
        if let ["ack", task, n] = words[..] {
            acks.insert(task.parse().expect("a task"), n.parse().expect("a step"));
            count += 1;
        }
        if count == lines {
            child.kill().expect("it runs");
        }
        line.clear();
    }
    assert!(!child.wait().expect("it ran").success(), "it ended by itself");
    assert!(count >= lines, "the child failed after {count} lines");
    acks
}
