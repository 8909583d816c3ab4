//! Ours, over the memory store.

use std::time::Duration;

use session_process::{
    SessionId,
    records::{CacheLimit, NewSession, SessionRecords, SessionView},
    store::MemoryStore,
};

use super::Reader;

#[derive(Clone, Debug)]
pub(crate) struct Ours(SessionRecords);

impl Reader for Ours {
    const NAME: &'static str = "session-process";
    type Id = SessionId;
    type Session = SessionView;

    fn new() -> Self {
        Self(
            SessionRecords::builder(MemoryStore::new())
                .cache(CacheLimit::Entries(100_000))
                .cache_max_age(Duration::from_secs(3600))
                .build()
                .expect("in a runtime"),
        )
    }

    async fn create(&self) -> SessionId {
        let new = NewSession::new()
            .attribute("user", "ada@example.org")
            .attribute("theme", "dark")
            .attribute("cart", ["tea", "milk", "sugar"]);
        self.0.create(new).await.expect("made").id
    }

    async fn get(&self, id: &SessionId) -> Option<SessionView> {
        self.0.get(id).await.expect("the store answers")
    }
}
