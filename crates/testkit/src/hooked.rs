//! [`Hooked`]: a store that a test looks into, holds up or breaks.

use std::{ops::Deref, sync::Arc};

use session_process::{
    Timestamp,
    store::{
        BoxFuture, Change, Changes, Channel, Outcome, Owner, Record, Removed, SessionKey, SessionStore, StoreError,
        Touch,
    },
};

/// What a store was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the methods of `SessionStore`")]
pub enum Asked {
    Load,
    Commit,
    Touch,
    DeleteExpired,
    List,
    Locate,
}

/// What a test does to a store. By default, nothing.
pub trait Hooks: Send + Sync + Sized + 'static {
    /// Before the store inside is asked; an error is the answer. `changes`: what is to be committed.
    fn before(
        &self,
        asked: Asked,
        changes: &[Change],
        inner: &dyn SessionStore,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = (asked, changes, inner);
        async { Ok(()) }
    }

    /// After it has answered, and before that is passed on; an error is the answer in its place.
    fn after(&self, asked: Asked) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = asked;
        async { Ok(()) }
    }

    /// What a subscriber hears.
    fn changes(&self, inner: Box<dyn Changes>) -> Box<dyn Changes> {
        inner
    }
}

/// A store with hooks, to which it dereferences.
#[derive(Debug, Default)]
pub struct Hooked<S, H> {
    /// The store, as it is.
    pub inner: S,
    hooks: H,
}

impl<S: SessionStore, H: Hooks> Hooked<S, H> {
    /// With these hooks.
    pub fn new(inner: S, hooks: H) -> Self {
        Self { inner, hooks }
    }

    async fn ask<T>(
        &self,
        asked: Asked,
        answer: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.hooks.before(asked, &[], &self.inner).await?;
        let answer = answer.await?;
        self.hooks.after(asked).await?;
        Ok(answer)
    }
}

impl<S, H: Default> Hooked<S, H> {
    /// Over this store.
    pub fn over(inner: S) -> Self {
        let hooks = H::default();
        Self { inner, hooks }
    }
}

impl<S, H> Deref for Hooked<S, H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.hooks
    }
}

impl<S: SessionStore, H: Hooks> SessionStore for Hooked<S, H> {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn load<'a>(&'a self, keys: &'a [SessionKey]) -> BoxFuture<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move { self.ask(Asked::Load, self.inner.load(keys)).await })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(async move {
            self.hooks.before(Asked::Commit, &changes, &self.inner).await?;
            let outcomes = self.inner.commit(changes).await?;
            self.hooks.after(Asked::Commit).await?;
            Ok(outcomes)
        })
    }

    fn touch(&self, touches: Vec<Touch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.ask(Asked::Touch, self.inner.touch(touches)).await })
    }

    fn delete_expired(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Removed>, StoreError>> {
        Box::pin(async move { self.ask(Asked::DeleteExpired, self.inner.delete_expired(limit)).await })
    }

    fn list<'a>(
        &'a self,
        owner: &'a Owner,
        after: Option<SessionKey>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move { self.ask(Asked::List, self.inner.list(owner, after, limit)).await })
    }

    fn locate<'a>(
        &'a self,
        first_keys: &'a [SessionKey],
    ) -> BoxFuture<'a, Result<Vec<Option<SessionKey>>, StoreError>> {
        Box::pin(async move { self.ask(Asked::Locate, self.inner.locate(first_keys)).await })
    }

    fn changes(&self) -> Box<dyn Changes> {
        self.hooks.changes(self.inner.changes())
    }

    fn channel(&self) -> Option<Arc<dyn Channel>> {
        self.inner.channel()
    }
}
