//! No room: an error for whoever wrote, and a writer that goes on when there is room again.
//!
//! A child process lowers its own limit on the size of a file, which needs no privileges: the system refuses to write
//! beyond it as it does on a full disk. (A shell ignores SIGXFSZ for it; the default is to die.)
#![cfg(target_os = "linux")]

use std::{env, path::Path, process::Command};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use session_process::store::{Create, SessionStore, Snapshot};
use session_process_sqlite::SqliteStore;

use crate::support::{apply, change, create, get, key, labelled};

const FILE: &str = "SESSION_PROCESS_SQLITE_FULL_FILE";

fn limit_files_to(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: bytes.or(maximum),
            maximum,
        },
    )
    .expect("within the maximum");
}

fn large() -> Create {
    let snapshot = Snapshot {
        kind: "cart".into(),
        schema: 1,
        bytes: vec![7; 100_000].into(),
    };
    Create {
        snapshot: Some(snapshot),
        ..Create::default()
    }
}

#[tokio::test]
#[ignore = "the child of the other test: it limits its own process"]
async fn child() {
    let Some(file) = env::var_os(FILE) else { return };
    let store = SqliteStore::open(Path::new(&file)).await.unwrap();
    let small = key();
    apply(&store, small, create(Create::default())).await.unwrap();
    limit_files_to(Some(2 << 20));
    let mut kept = Vec::new();
    let error = loop {
        let key = key();
        match store.commit(vec![change(key, create(large()))]).await {
            Ok(outcomes) => outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap())),
            Err(error) => break error,
        }
        kept.push(key);
        assert!(kept.len() < 1000, "the limit limits nothing");
    };
    assert!(kept.len() > 5, "{} large sessions fit", kept.len());
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("disk"), "{error}");
    // Many who wait all get an answer, and a yes is a yes.
    let attempts: Vec<_> = (0..50)
        .map(|_| {
            let (store, key) = (store.clone(), key());
            tokio::spawn(async move { (key, store.commit(vec![change(key, create(large()))]).await) })
        })
        .collect();
    let mut refused = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            (key, Ok(_)) => kept.push(key),
            (_, Err(_)) => refused += 1,
        }
    }
    assert!(refused > 40, "{refused} were refused");
    // Nothing that was acknowledged is lost, and it can be read.
    for key in &kept {
        assert!(get(&store, *key).await.is_some());
    }
    // There is room again.
    limit_files_to(None);
    apply(&store, small, labelled("after")).await.unwrap();
    for _ in 0..20 {
        let key = key();
        apply(&store, key, create(large())).await.unwrap();
        kept.push(key);
    }
    store.shutdown().await;
    let again = SqliteStore::open(Path::new(&file)).await.unwrap();
    for key in &kept {
        assert!(get(&again, *key).await.is_some());
    }
    assert_eq!(get(&again, small).await.unwrap().label.unwrap().as_str(), "after");
    println!("the child came to its end");
}

#[test]
fn a_full_disk_is_an_error_and_the_writer_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" --exact disk_full::child --ignored --nocapture",
        ])
        .arg(env::current_exe().unwrap())
        .env(FILE, directory.path().join("sessions.db"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("came to its end"),
        "{text}\n{errors}"
    );
}
