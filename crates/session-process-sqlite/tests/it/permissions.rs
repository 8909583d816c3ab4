//! A file that can't be written to. The superuser can write to any, so a child process gives its privileges up first.
#![cfg(unix)]

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use session_process_sqlite::{OpenError, SqliteStore};

use crate::support::{apply, create, key};

const FILE: &str = "SESSION_PROCESS_SQLITE_READ_ONLY_FILE";

#[tokio::test]
#[ignore = "the child of the other test, which is nobody"]
async fn child() {
    let Some(file) = env::var_os(FILE) else { return };
    let file = Path::new(&file);
    let error = SqliteStore::open(file).await.unwrap_err();
    assert!(
        matches!(error, OpenError::ReadOnly { .. } | OpenError::Create { .. }),
        "{error:?}"
    );
    println!("refused: {error}");
}

fn as_nobody(file: &Path, program: &Path) -> String {
    let mut command = Command::new(program);
    command
        .args(["--exact", "permissions::child", "--ignored", "--nocapture"])
        .env(FILE, file);
    if rustix::process::geteuid().is_root() {
        // 65534 is nobody wherever there is one.
        command.uid(65534).gid(65534);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[tokio::test]
async fn a_read_only_file_or_directory_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    // Where nobody can find it too.
    let program = directory.path().join("test");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

    let file = directory.path().join("sessions.db");
    let store = SqliteStore::open(&file).await.unwrap();
    apply(&store, key(), create(Default::default())).await.unwrap();
    store.shutdown().await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    // The file, and then a new one in a directory that belongs to somebody else.
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let text = as_nobody(&file, &program);
    assert!(text.contains("can't be written to"), "{text}");
    let text = as_nobody(&directory.path().join("new.db"), &program);
    assert!(text.contains("refused: can't create"), "{text}");
}
