//! Durable processes, beside volatile ones and beside a bare read.

mod behind;
mod wake;

pub use self::{behind::WriteBehind, wake::Wake};

use std::{env, fs, path::PathBuf, process, sync::Arc, time::Duration};

use session_process::{SessionId, records::SessionRecords};
use session_process_sqlite::SqliteStore;

use crate::ids::IdSource;

/// A directory that goes with the row.
struct Scratch(PathBuf);

impl Scratch {
    fn new(row: &str) -> Self {
        let path = env::temp_dir().join(format!("session-process-bench-{}-{row}", process::id()));
        fs::create_dir_all(&path).expect("a directory for temporary files");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn records(scratch: &Scratch) -> SessionRecords {
    let store = SqliteStore::open(scratch.0.join("ours.db"))
        .await
        .expect("a fresh file");
    SessionRecords::builder(store)
        .store_timeout(Duration::from_secs(60))
        .build()
        .expect("a runtime and no zeros")
}

fn ids(count: usize) -> Arc<[SessionId]> {
    let ids = IdSource::new(3).take(count, |text| text.parse().expect("32 characters of the alphabet"));
    ids.into()
}
