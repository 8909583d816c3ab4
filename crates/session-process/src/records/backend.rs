//! [`Backend`]: the store, with a time limit on whatever it is asked.

use std::{sync::Arc, time::Duration};

use super::super::clock::{Clock, nanos};
use crate::{
    Timestamp,
    store::{Change, Outcome, Owner, Record, Removed, SessionKey, SessionStore, StoreError, Touch},
};

pub(super) struct Backend {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) clock: Clock,
    pub(super) limit: Duration,
}

impl Backend {
    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        self.store.now()
    }

    pub(super) async fn load(&self, keys: &[SessionKey]) -> Result<Vec<Option<Record>>, StoreError> {
        let found = self.within("load", self.store.load(keys)).await?;
        self.complete("load", found, keys.len())
    }

    pub(super) async fn commit(&self, change: Change) -> Result<Outcome, StoreError> {
        self.commit_all(vec![change])
            .await
            .map(|mut outcomes| outcomes.pop().expect("as many as changes"))
    }

    pub(super) async fn commit_all(&self, changes: Vec<Change>) -> Result<Vec<Outcome>, StoreError> {
        let count = changes.len();
        let outcomes = self.within("commit", self.store.commit(changes)).await?;
        self.complete("commit", outcomes, count)
    }

    pub(super) async fn touch(&self, touches: Vec<Touch>) -> Result<(), StoreError> {
        self.within("touch", self.store.touch(touches)).await
    }

    pub(super) async fn delete_expired(&self, limit: usize) -> Result<Vec<Removed>, StoreError> {
        self.within("delete_expired", self.store.delete_expired(limit)).await
    }

    pub(super) async fn list(
        &self,
        owner: &Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.within("list", self.store.list(owner, after, limit)).await
    }

    pub(super) async fn locate(&self, first_keys: &[SessionKey]) -> Result<Vec<Option<SessionKey>>, StoreError> {
        let found = self.within("locate", self.store.locate(first_keys)).await?;
        self.complete("locate", found, first_keys.len())
    }

    async fn within<T>(
        &self,
        context: &'static str,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let deadline = self.clock.now().saturating_add(nanos(self.limit));
        let answer = self.clock.before(deadline, asked).await;
        answer.unwrap_or(Err(StoreError::Timeout { context }))
    }

    /// A store of somebody else's that miscounts must not become a panic, or another session's answer.
    fn complete<T>(&self, context: &'static str, answers: Vec<T>, asked: usize) -> Result<Vec<T>, StoreError> {
        if answers.len() == asked {
            Ok(answers)
        } else {
            let error = format!("{} answers to {asked} questions", answers.len());
            Err(StoreError::failed(context, error))
        }
    }
}
