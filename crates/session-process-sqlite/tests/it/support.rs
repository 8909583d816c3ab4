//! What the tests share.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use session_process::{
    SessionId, Timestamp,
    store::{Change, Create, Edit, Expect, Op, Outcome, OwnerText, Record, SessionKey, SessionStore},
};
use session_process_sqlite::SqliteStore;
use tempfile::TempDir;
use testkit::conformance::StoreUnderTest;

/// A clock that stands still until a test moves it. It begins at calendar time, as the file's views show it.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Timestamp::system().as_micros())))
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("a test's time");
        self.0.fetch_add(by, Ordering::AcqRel);
    }
}

/// A store in a directory of its own, which goes with it.
pub(crate) struct Fresh {
    pub(crate) store: SqliteStore,
    pub(crate) clock: Clock,
    pub(crate) directory: TempDir,
}

impl Fresh {
    pub(crate) fn path(&self) -> PathBuf {
        self.store.path().to_owned()
    }
}

impl StoreUnderTest for Fresh {
    fn store(&self) -> Arc<dyn SessionStore> {
        Arc::new(self.store.clone())
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

pub(crate) async fn fresh() -> Fresh {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Clock::new();
    let now = clock.clone();
    let store = SqliteStore::builder(directory.path().join("sessions.db"))
        .clock(move || now.now())
        .open()
        .await
        .expect("a fresh file");
    Fresh {
        store,
        clock,
        directory,
    }
}

pub(crate) fn key() -> SessionKey {
    SessionKey::of(&SessionId::generate())
}

pub(crate) fn owner(text: &str) -> OwnerText {
    OwnerText::new(text).expect("a good owner")
}

pub(crate) fn change(key: SessionKey, op: Op) -> Change {
    Change {
        key,
        expect: Expect::default(),
        op,
    }
}

pub(crate) fn create(new: Create) -> Op {
    Op::Create(Box::new(new))
}

pub(crate) fn edit(new: Edit) -> Op {
    Op::Edit(Box::new(new))
}

pub(crate) fn labelled(label: &str) -> Op {
    edit(Edit {
        label: Some(Some(owner(label))),
        ..Edit::default()
    })
}

pub(crate) async fn apply(store: &SqliteStore, key: SessionKey, op: Op) -> Outcome {
    store
        .commit(vec![change(key, op)])
        .await
        .expect("the store works")
        .remove(0)
}

pub(crate) async fn get(store: &SqliteStore, key: SessionKey) -> Option<Record> {
    store.load(&[key]).await.expect("the store works").remove(0)
}
