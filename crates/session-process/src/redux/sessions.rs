//! Stores by session id: the messages with their two errors as one.

use serde::{Serialize, de::DeserializeOwned};

use super::{DispatchError, Dispatched, Error, History, Reducer, Store, StoreStats, Subscription, messages};
use crate::{CastError, Handle, SessionId, Sessions, engine};

/// Stores by session id. Each is one message: with the deadline, the errors and the cancel safety of
/// [`call`](Sessions::call).
impl<R: Reducer> Sessions<Store<R>> {
    async fn ask<M, T>(&self, id: &SessionId, message: M) -> Result<T, Error>
    where
        Store<R>: Handle<M, Reply = T>,
        M: Send + 'static,
    {
        Ok(self.call(id, message).await.map_err(|error| error.map(drop))?)
    }

    /// Applies an action, and waits until it is applied and subscribers are told.
    ///
    /// # Errors
    /// [`DispatchError`]: a call's, with the action; or why the store refused it, which changed nothing.
    #[inline]
    pub async fn dispatch(
        &self,
        id: &SessionId,
        action: impl Into<R::Action>,
    ) -> Result<Dispatched, DispatchError<R::Action>> {
        // Not by way of `call`, whose future would be one more to carry about.
        let (engine, within) = (self.engine(), self.config().call_timeout);
        match engine::call::<Store<R>, _>(engine, id, messages::dispatch(action.into()), within).await {
            Ok(outcome) => outcome.map_err(|refused| DispatchError::Refused(*refused)),
            Err(error) => Err(DispatchError::Call(error.map(|messages::Dispatch(action)| action))),
        }
    }

    /// Applies an action, and doesn't wait for it. Whether the store refuses it is not told.
    ///
    /// # Errors
    /// [`CastError`], with the action.
    pub fn dispatch_later(&self, id: &SessionId, action: impl Into<R::Action>) -> Result<(), CastError<R::Action>> {
        let sent = self.cast(id, messages::dispatch(action.into()));
        sent.map_err(|error| error.map(|messages::Dispatch(action)| action))
    }

    /// A copy of the state. [`select`](Self::select) copies less.
    ///
    /// # Errors
    /// A call's.
    pub async fn state(&self, id: &SessionId) -> Result<R, Error> {
        self.ask(id, messages::select(R::clone)).await?
    }

    /// Reads from the state, in the process: only what `select` returns leaves it.
    ///
    /// # Errors
    /// [`SelectorPanicked`](Error::SelectorPanicked); a call's.
    pub async fn select<T, F>(&self, id: &SessionId, select: F) -> Result<T, Error>
    where
        F: FnOnce(&R) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.ask(id, messages::select(select)).await?
    }

    /// Follows what `select` returns: see [`Subscription`]. It is run after each change, so it should be quick and
    /// small; [`subscribe_ref`](Self::subscribe_ref) is for what is not.
    ///
    /// # Errors
    /// [`SelectorPanicked`](Error::SelectorPanicked), [`TooManySubscriptions`](Error::TooManySubscriptions); a call's.
    pub async fn subscribe<T, F>(&self, id: &SessionId, select: F) -> Result<Subscription<T>, Error>
    where
        F: Fn(&R) -> T + Send + 'static,
        T: PartialEq + Clone + Send + 'static,
    {
        self.ask(id, messages::subscribe(select)).await?
    }

    /// Follows a part of the state, which is cloned only when it has changed.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn subscribe_ref<T, F>(&self, id: &SessionId, select: F) -> Result<Subscription<T>, Error>
    where
        F: for<'a> Fn(&'a R) -> &'a T + Send + 'static,
        T: PartialEq + Clone + Send + 'static,
    {
        self.ask(id, messages::subscribe_ref(select)).await?
    }

    /// One step back. Returns the position; `None` if there was no step to take back.
    ///
    /// # Errors
    /// A call's.
    pub async fn undo(&self, id: &SessionId) -> Result<Option<u64>, Error> {
        self.ask(id, messages::undo()).await?
    }

    /// One step forward again, after an undo. Returns the position; `None` if there was none.
    ///
    /// # Errors
    /// A call's.
    pub async fn redo(&self, id: &SessionId) -> Result<Option<u64>, Error> {
        self.ask(id, messages::redo()).await?
    }

    /// To the initial state, as a step that can be undone. Returns its position.
    ///
    /// # Errors
    /// A call's.
    pub async fn reset(&self, id: &SessionId) -> Result<u64, Error> {
        let position = self.ask(id, messages::reset()).await??;
        Ok(position.unwrap_or_default())
    }

    /// Puts the state to a position in the history: the number of steps since the store began. What comes after it
    /// stays, until another action is dispatched.
    ///
    /// # Errors
    /// [`OutOfRange`](Error::OutOfRange); a call's.
    pub async fn time_travel(&self, id: &SessionId, position: u64) -> Result<(), Error> {
        self.ask(id, messages::time_travel(position)).await?.map(drop)
    }

    /// The state at a position in the history, without going there.
    ///
    /// # Errors
    /// [`OutOfRange`](Error::OutOfRange); a call's.
    pub async fn state_at(&self, id: &SessionId, position: u64) -> Result<R, Error> {
        self.ask(id, messages::state_at(position)).await?
    }

    /// The steps that are kept, with their times.
    ///
    /// # Errors
    /// A call's.
    pub async fn history(&self, id: &SessionId) -> Result<History<R::Action>, Error>
    where
        R::Action: Clone,
    {
        self.ask(id, messages::history()).await
    }

    /// Cancels the effect of this key. Returns whether it was under way.
    ///
    /// # Errors
    /// A call's.
    pub async fn cancel_effect(&self, id: &SessionId, key: impl Into<String>) -> Result<bool, Error> {
        self.ask(id, messages::cancel(key)).await
    }

    /// Numbers of a store.
    ///
    /// # Errors
    /// A call's.
    pub async fn store_stats(&self, id: &SessionId) -> Result<StoreStats, Error> {
        self.ask(id, messages::stats()).await
    }

    /// Writes a store down, as JSON.
    ///
    /// # Errors
    /// [`Unserializable`](Error::Unserializable); a call's.
    pub async fn export(&self, id: &SessionId) -> Result<String, Error>
    where
        R: Serialize,
        R::Action: Serialize,
    {
        self.ask(id, messages::export()).await?
    }

    /// Takes on what another store, or this one, has exported. Returns the position.
    ///
    /// # Errors
    /// [`BadExport`](Error::BadExport), and then nothing was changed; a call's.
    pub async fn import(&self, id: &SessionId, exported: impl Into<String>) -> Result<u64, Error>
    where
        R: DeserializeOwned,
        R::Action: DeserializeOwned,
    {
        self.ask(id, messages::import(exported)).await?
    }
}
