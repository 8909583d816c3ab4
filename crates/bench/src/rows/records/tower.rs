//! tower-sessions' caching store: moka in front of its memory store, as its documentation shows it.

use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use tower_sessions_core::{
    SessionStore as _,
    session::{Id, Record},
    session_store::CachingSessionStore,
};
use tower_sessions_memory_store::MemoryStore;
use tower_sessions_moka_store::MokaStore;

use super::Reader;

#[derive(Clone, Debug)]
pub(crate) struct Tower(Arc<CachingSessionStore<MokaStore, MemoryStore>>);

impl Reader for Tower {
    const NAME: &'static str = "tower-sessions+moka";
    type Id = Id;
    type Session = Record;

    fn new() -> Self {
        let cache = MokaStore::new(Some(100_000));
        Self(Arc::new(CachingSessionStore::new(cache, MemoryStore::default())))
    }

    async fn create(&self) -> Id {
        let mut record = Record {
            id: Id::default(),
            data: [
                ("user".to_owned(), "ada@example.org".into()),
                ("theme".to_owned(), "dark".into()),
                ("cart".to_owned(), vec!["tea", "milk", "sugar"].into()),
            ]
            .into(),
            expiry_date: OffsetDateTime::now_utc() + Duration::days(30),
        };
        self.0.create(&mut record).await.expect("made");
        record.id
    }

    async fn get(&self, id: &Id) -> Option<Record> {
        self.0.load(id).await.expect("the store answers")
    }
}
