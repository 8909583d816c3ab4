//! [`Sessions`]: the way to all sessions of an engine, by their ids.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Weak},
    time::Duration,
};

use crate::{
    Attributes, Builder, CallError, CastError, Config, Cursor, Deferred, EndReason, Follower, Handle, Init, LoadError,
    Monitor, NotStarted, Observer, Process, RotateError, SessionId, SessionStats, ShutdownReport, StartError,
    StartOptions, TerminateError,
    clock::nanos,
    engine::{self, AnySession, Engine, Leftover, Owner, Session},
    events::{Event, RefusedId, Subscriber},
    records::SessionRecords,
    store::{SessionKey, StoreError},
};

/// All sessions of an engine, seen as processes of type `P`; without a type, as [`Attributes`].
///
/// Cheap to clone. Several process types share one engine: [`of`](Self::of) gives a view for another type. An id has
/// one process, and a message for another type is an error. When the last clone is dropped, the engine ends without
/// running terminate hooks; [`shutdown`](Self::shutdown) ends it in order. (So a process that holds a clone keeps its
/// engine alive until its session ends.)
///
/// ```
/// use session_process::{Context, Handle, Process, SessionId, Sessions};
///
/// #[derive(Default)]
/// struct Counter(u64);
/// impl Process for Counter {}
///
/// struct Add(u64);
/// impl Handle<Add> for Counter {
///     type Reply = u64;
///     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::<Counter>::builder().build()?;
/// let id = SessionId::generate();
///
/// sessions.start(&id).await?;
/// assert_eq!(sessions.call(&id, Add(2)).await?, 2);
/// sessions.cast(&id, Add(3))?;
/// assert_eq!(sessions.call(&id, Add(0)).await?, 5);
///
/// sessions.terminate(&id).await?;
/// assert!(!sessions.is_started(&id));
/// # Ok(()) }
/// ```
pub struct Sessions<P = Attributes> {
    engine: Arc<Engine>,
    owner: Arc<Owner>,
    process: PhantomData<fn() -> P>,
}

impl<P> Clone for Sessions<P> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            owner: Arc::clone(&self.owner),
            process: PhantomData,
        }
    }
}

impl<P: Process> Sessions<P> {
    /// Limits, and then [`build`](Builder::build).
    pub fn builder() -> Builder<P> {
        Builder::new()
    }

    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            owner: Arc::new(Owner(Arc::clone(&engine))),
            engine,
            process: PhantomData,
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The same sessions, seen as processes of another type.
    #[must_use]
    pub fn of<Q: Process>(&self) -> Sessions<Q> {
        Sessions {
            engine: Arc::clone(&self.engine),
            owner: Arc::clone(&self.owner),
            process: PhantomData,
        }
    }

    /// Starts a session, unless it is started. Returns whether it was started by this very call.
    ///
    /// However many start one id at once, its `init` runs once, and all of them wait for it. Starting a session that
    /// is started counts as a use of it.
    ///
    /// # Errors
    /// [`StartError`]: a limit, a failed `init`, another process type under this id, a shutdown.
    ///
    /// # Cancel safety
    /// An `init` that has begun goes on when this future is dropped, and the session is started by it.
    pub async fn start(&self, id: &SessionId) -> Result<bool, StartError>
    where
        P: Init,
    {
        self.start_with(id, ()).await
    }

    /// Starts a session with arguments. They are kept for restarts after a panic, hence `Clone`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_with<A>(&self, id: &SessionId, args: A) -> Result<bool, StartError>
    where
        P: Init<A>,
        A: Clone + Send + Sync + 'static,
    {
        self.start_with_options(id, args, &StartOptions::default()).await
    }

    /// Starts a session with time limits of its own, or counted for a key.
    ///
    /// # Errors
    /// As [`start`](Self::start), and [`StartError::KeyRateLimit`].
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_with_options<A>(
        &self,
        id: &SessionId,
        args: A,
        options: &StartOptions,
    ) -> Result<bool, StartError>
    where
        P: Init<A>,
        A: Clone + Send + Sync + 'static,
    {
        engine::start::<P, A>(&self.engine, id, args, options).await
    }

    /// Starts many sessions, one after the other. A failure doesn't keep the others from starting.
    ///
    /// # Cancel safety
    /// Those that were started stay started.
    pub async fn start_many<'a>(&self, ids: impl IntoIterator<Item = &'a SessionId>) -> Vec<Result<bool, StartError>>
    where
        P: Init,
    {
        let mut results = Vec::new();
        for id in ids {
            results.push(self.start(id).await);
        }
        results
    }

    /// Sends a message and waits for the reply, for the [`call_timeout`](Builder::call_timeout) at most.
    ///
    /// # Errors
    /// [`CallError`], with the message where nobody began to handle it.
    ///
    /// # Cancel safety
    /// The message is handled whole or not at all: dropped while the message waits, this takes it back; a handler
    /// that has begun goes on to its end.
    pub async fn call<M>(&self, id: &SessionId, message: M) -> Result<P::Reply, CallError<M>>
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        engine::call::<P, M>(&self.engine, id, message, self.engine.config.call_timeout).await
    }

    /// The same with another deadline. It covers the time in the mailbox and in the handler.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub async fn call_within<M>(&self, id: &SessionId, message: M, within: Duration) -> Result<P::Reply, CallError<M>>
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        engine::call::<P, M>(&self.engine, id, message, within).await
    }

    /// Calls a handler that puts its reply off ([`Context::defer_reply`](crate::Context::defer_reply)) and waits for
    /// that reply. The one deadline covers all of it.
    ///
    /// # Errors
    /// As [`call`](Self::call), and [`CallError::ReplyDropped`] if the process drops the reply.
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    pub async fn call_deferred<M, T>(&self, id: &SessionId, message: M) -> Result<T, CallError<M>>
    where
        P: Handle<M, Reply = Deferred<T>>,
        M: Send + 'static,
        T: Send + 'static,
    {
        let within = self.engine.config.call_timeout;
        let deadline = self.engine.now().saturating_add(crate::clock::nanos(within));
        let deferred = self.call(id, message).await?;
        match self.engine.clock.before(deadline, deferred.recv()).await {
            Some(Some(reply)) => {
                // The state that it reflects may be on its way to the store.
                if P::DURABILITY.0.is_some() {
                    engine::settled::<P, M>(&self.engine, id, within, deadline).await?;
                }
                Ok(reply)
            }
            Some(None) => Err(CallError::ReplyDropped { id: id.clone() }),
            None => Err(CallError::Timeout {
                id: id.clone(),
                within,
                message: None,
            }),
        }
    }

    /// Sends a message and doesn't wait for it to be handled.
    ///
    /// If the session is idle, its handler begins right here, on the caller's thread, up to its first wait; then those of
    /// the first few messages that have come meanwhile.
    ///
    /// A durable session that sleeps is woken. It is asked for in the store later than this returns: if there is none
    /// under this id after all, or the store fails, the message is dropped. A [`call`](Self::call) tells.
    ///
    /// # Errors
    /// [`CastError`], with the message: the session is not started, its mailbox is full, or it can't be woken now.
    pub fn cast<M>(&self, id: &SessionId, message: M) -> Result<(), CastError<M>>
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        engine::cast::<P, M>(&self.engine, id, message)
    }

    /// Casts a message to every session of type `P`. It is no use of them: it keeps none alive. Returns how many got
    /// it; a session whose mailbox is full does not, and one whose id is rotated meanwhile may be passed over or met
    /// twice.
    ///
    /// Goes through the registry in slices, and lets others have their turn between them. Sessions that are started
    /// meanwhile may or may not get the message.
    ///
    /// # Cancel safety
    /// Those that got the message, got it.
    pub async fn broadcast<M>(&self, message: M) -> usize
    where
        P: Handle<M>,
        M: Clone + Send + 'static,
    {
        let mut sent = 0;
        for shard in 0..self.engine.registry.shards() {
            let sessions = self.engine.registry.collect(shard);
            for (index, session) in sessions.into_iter().enumerate() {
                if let Some(session) = Session::<P>::of(session) {
                    sent += usize::from(engine::push_to(session, message.clone()));
                }
                if index % 64 == 63 {
                    tokio::task::yield_now().await;
                }
            }
            tokio::task::coop::consume_budget().await;
        }
        sent
    }

    /// Whether a session is started, of whatever type: its `init` is done, and it has neither ended nor expired. Of
    /// sessions in memory: see [`exists`](Self::exists).
    #[must_use]
    pub fn is_started(&self, id: &SessionId) -> bool {
        let now = self.engine.now();
        self.engine
            .registry
            .with(id, |session| session.is_live(now))
            .unwrap_or(false)
    }

    /// Whether there is such a session: started, or asleep in the store. No use of it.
    ///
    /// # Errors
    /// [`StoreError`]: it is not in memory, and the store could not be asked. Not the same as `false`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn exists(&self, id: &SessionId) -> Result<bool, StoreError> {
        match &self.engine.records {
            _ if self.is_started(id) => Ok(true),
            Some(records) => records.is_there(SessionKey::of(id)).await,
            None => Ok(false),
        }
    }

    /// Counts as a use: the session's idle time begins anew. Of sessions in memory: see [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// [`NotStarted`], also if it has expired: it can't be brought back.
    pub fn touch(&self, id: &SessionId) -> Result<(), NotStarted> {
        let now = self.engine.now();
        let touched = self
            .engine
            .registry
            .with(id, |session| session.touch(now).then(|| session.kept().is_some()));
        let touched = touched.flatten();
        if let (Some(true), Some(records)) = (touched, &self.engine.records) {
            records.note_use(SessionKey::of(id));
        }
        self.found(id, touched.is_some())
    }

    /// Counts as a use, also of a session that sleeps in the store, which this doesn't wake. Returns whether there is
    /// such a session.
    ///
    /// # Errors
    /// [`StoreError`]: it is not in memory, and the store could not be asked. Not the same as `false`.
    ///
    /// # Cancel safety
    /// It may have been counted.
    pub async fn refresh(&self, id: &SessionId) -> Result<bool, StoreError> {
        if self.touch(id).is_ok() {
            return Ok(true);
        }
        let engine = &self.engine;
        let Some(records) = &engine.records else {
            return Ok(false);
        };
        // One whose time is up here may be in use at another node. Its end asks the store, and the record goes with it or
        // stays. (A handler doesn't wait for an end: it may be its own.)
        if let Some(session) = engine.registry.get(id)
            && Arc::clone(&session).expire(engine.now())
            && session.kept().is_some()
            && !engine::in_a_handler()
        {
            let deadline = engine.now().saturating_add(nanos(engine.config.call_timeout));
            let ended = engine::ended(&*session, engine, deadline).await;
            ended.ok_or(StoreError::Timeout { context: "refresh" })?;
        }
        let there = records.get(id).await?.is_some();
        if there {
            // It may have been woken meanwhile from what the record said before.
            let _ = self.touch(id);
        }
        Ok(there)
    }

    /// Brings a session that sleeps in the store back into memory, as the next message would. Returns whether there is
    /// such a session, awake by now. No use of it, but it begins to run: a [`monitor`](Self::monitor) keeps it awake.
    ///
    /// # Errors
    /// [`StartError`]: a limit, a shutdown; [`NotLoaded`](StartError::NotLoaded): the store failed, or the state can't
    /// be read; [`WrongProcess`](StartError::WrongProcess): `P` is not the type of its process.
    ///
    /// # Cancel safety
    /// What has begun goes on to its end, and the session is awake then.
    pub async fn wake(&self, id: &SessionId) -> Result<bool, StartError> {
        if self.is_started(id) {
            return Ok(true);
        }
        if P::DURABILITY.0.is_some() {
            return engine::wake_up::<P>(&self.engine, id).await;
        }
        match self.exists(id).await {
            Ok(false) => Ok(false),
            Ok(true) => Err(StartError::WrongProcess {
                id: id.clone(),
                expected: std::any::type_name::<P>(),
                found: "a durable process that sleeps",
            }),
            Err(source) => Err(StartError::NotLoaded {
                id: id.clone(),
                source: LoadError::Store(source),
            }),
        }
    }

    /// Gives one session another idle timeout than the engine's; `None`: none. Of a durable session, until it leaves
    /// memory: for good it is set in its record, with [`SessionRecords`](crate::records::SessionRecords).
    ///
    /// # Errors
    /// [`NotStarted`].
    pub fn set_idle_timeout(&self, id: &SessionId, timeout: Option<Duration>) -> Result<(), NotStarted> {
        self.set_limit(id, |session| session.life().set_idle_timeout(timeout))
    }

    /// Gives one session another lifetime than the engine's, counted from its start; `None`: any age. Of a durable
    /// session as [`set_idle_timeout`](Self::set_idle_timeout).
    ///
    /// # Errors
    /// [`NotStarted`].
    pub fn set_max_lifetime(&self, id: &SessionId, lifetime: Option<Duration>) -> Result<(), NotStarted> {
        self.set_limit(id, |session| session.life().set_max_lifetime(lifetime))
    }

    fn set_limit(&self, id: &SessionId, set: impl FnOnce(&dyn AnySession)) -> Result<(), NotStarted> {
        let now = self.engine.now();
        let set = self.engine.registry.change(id, |session| {
            let live = session.is_live(now);
            if live {
                set(&**session);
            }
            live
        });
        self.found(id, set.unwrap_or(false))
    }

    fn found(&self, id: &SessionId, found: bool) -> Result<(), NotStarted> {
        found.then_some(()).ok_or_else(|| NotStarted { id: id.clone() })
    }

    /// Ends a session and waits until its terminate hook has run. The message at work is handled to its end; those
    /// that wait go back to their senders. From within a handler it doesn't wait, as two sessions that end each other
    /// would wait for good.
    ///
    /// A durable session's record is removed first, also if the session sleeps; so if the store fails, the session
    /// lives on and this is an error.
    ///
    /// # Errors
    /// [`TerminateError`].
    ///
    /// # Cancel safety
    /// The session ends also when this future is dropped, once it was polled; unless it sleeps or the store fails.
    pub async fn terminate(&self, id: &SessionId) -> Result<(), TerminateError> {
        self.terminate_for(id, EndReason::Terminated).await
    }

    /// The same, and says why: what the hook and the monitors get.
    ///
    /// # Errors
    /// As [`terminate`](Self::terminate).
    ///
    /// # Cancel safety
    /// As [`terminate`](Self::terminate).
    pub async fn terminate_for(&self, id: &SessionId, reason: EndReason) -> Result<(), TerminateError> {
        let missing = || TerminateError::NotStarted { id: id.clone() };
        let failed = |source| TerminateError::Store { id: id.clone(), source };
        let Some(session) = self.engine.registry.get(id) else {
            let there = match &self.engine.records {
                // It sleeps already.
                Some(records) if reason.keeps_record() => records.is_there(SessionKey::of(id)).await.map_err(failed)?,
                Some(records) => records.delete(id).await.map_err(failed)?,
                None => false,
            };
            return if there { Ok(()) } else { Err(missing()) };
        };
        let expired = session.is_expired(self.engine.now());
        let mut ended = session.watch_end();
        match session.kept().filter(|_| !reason.keeps_record()) {
            None => session.end(reason, Leftover::Refuse),
            // In a task: a caller that goes away between the two would leave a session that has no record.
            Some(kept) => {
                let deleted = self.engine.spawn(async move {
                    kept.delete().await?;
                    session.end(reason, Leftover::Refuse);
                    Ok(())
                });
                let lost = |error| StoreError::failed("delete", error);
                deleted
                    .await
                    .map_err(lost)
                    .and_then(|deleted| deleted)
                    .map_err(failed)?;
            }
        }
        // A handler must not wait: for itself in its own session, nor for one that ends ours.
        if !engine::in_a_handler() {
            // An error: nobody is left to tell, so it has ended.
            let _ = ended.wait_for(Option::is_some).await;
        }
        if expired { Err(missing()) } else { Ok(()) }
    }

    /// Ends many sessions. Returns how many of them were started.
    ///
    /// # Cancel safety
    /// Those that were asked to end, end.
    pub async fn terminate_many<'a>(&self, ids: impl IntoIterator<Item = &'a SessionId>) -> usize {
        let mut ended = 0;
        for id in ids {
            ended += usize::from(self.terminate(id).await.is_ok());
        }
        ended
    }

    /// Ends all sessions that are in memory, of all types, and waits for none of them. (Those that sleep in a store go on:
    /// end them by [`SessionRecords::delete_all`](crate::records::SessionRecords::delete_all).) Returns how many were asked to end.
    ///
    /// # Cancel safety
    /// Those that were asked to end, end.
    pub async fn terminate_all(&self) -> usize {
        self.engine.end_all(EndReason::Terminated, Leftover::Refuse).await
    }

    /// Ends a session at once: a handler that waits is dropped where it stands, and the terminate hook doesn't run.
    /// For a process that hangs; [`terminate`](Self::terminate) is the way that loses nothing.
    ///
    /// A handler that blocks its thread can't be dropped. It goes on to its next wait.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub fn kill(&self, id: &SessionId) -> Result<(), NotStarted> {
        let session = self.engine.registry.get(id);
        let session = session.ok_or_else(|| NotStarted { id: id.clone() })?;
        session.kill(EndReason::Terminated);
        Ok(())
    }

    /// Gives a session a new id, for example at login, in one step: no moment without either, and the old id is dead
    /// at once. Process, timers and monitors stay.
    ///
    /// A durable session's record moves along, also if the session sleeps.
    ///
    /// # Errors
    /// [`RotateError`].
    ///
    /// # Cancel safety
    /// A volatile session is rotated in the first poll. The id of a durable one is changed or not; what has begun goes
    /// on to its end.
    pub async fn rotate(&self, id: &SessionId) -> Result<SessionId, RotateError> {
        let to = SessionId::generate();
        self.rotate_to(id, &to).await.map(|()| to)
    }

    /// The same, to an id that the application gives.
    ///
    /// # Errors
    /// [`RotateError`].
    ///
    /// # Cancel safety
    /// As [`rotate`](Self::rotate).
    pub async fn rotate_to(&self, id: &SessionId, to: &SessionId) -> Result<(), RotateError> {
        engine::rotate(&self.engine, id, to).await?;
        self.engine.events.emit(|| Event::Rotated {
            from: id.public_handle(),
            to: to.public_handle(),
        });
        Ok(())
    }

    /// Follows a session to its end: what an open page holds.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub fn monitor(&self, id: &SessionId) -> Result<Monitor, NotStarted> {
        let now = self.engine.now();
        let session = self.engine.registry.get(id).filter(|session| session.is_live(now));
        let session = session.ok_or_else(|| NotStarted { id: id.clone() })?;
        Ok(session.monitor())
    }

    /// Has `observer` see the process now, and after each message that may have changed it. Wakes a session that sleeps;
    /// no use of it.
    ///
    /// # Errors
    /// A call's: see [`CallError`].
    ///
    /// # Cancel safety
    /// The observer is there or not.
    pub async fn observe(&self, id: &SessionId, observer: impl Observer<P>) -> Result<(), CallError<()>> {
        engine::observe(&self.engine, id, Box::new(observer)).await
    }

    /// Has `follower` told when the session gets another id, and when it ends. For the holder of a [`Weak`] there is
    /// nothing to take back.
    ///
    /// # Errors
    /// [`NotStarted`], also if the id was just given up: then nobody is told of that.
    pub fn follow(&self, id: &SessionId, follower: Weak<dyn Follower>) -> Result<(), NotStarted> {
        let now = self.engine.now();
        let session = self.engine.registry.get(id).filter(|session| session.is_live(now));
        let follows = session.is_some_and(|session| {
            // Looked at again: a rotation between the two would be told to nobody.
            session.follow(follower) && session.is(id)
        });
        self.found(id, follows)
    }

    /// The ids of all live sessions, of all types. For many sessions, [`list_page`](Self::list_page) needs less
    /// memory.
    #[must_use]
    pub fn list(&self) -> Vec<SessionId> {
        self.find(|_| true)
    }

    /// The ids of live sessions that satisfy `wanted`: by a pattern of their text, for instance.
    pub fn find(&self, mut wanted: impl FnMut(&SessionId) -> bool) -> Vec<SessionId> {
        let now = self.engine.now();
        let mut found = Vec::new();
        for shard in 0..self.engine.registry.shards() {
            let sessions = self.engine.registry.collect(shard);
            let live = sessions.iter().filter(|session| session.is_live(now));
            found.extend(live.map(|session| session.id()).filter(|id| wanted(id)));
        }
        found
    }

    /// A page of the list: about `limit` live sessions, and where to go on. A session that lives from the first page
    /// to the last is listed exactly once; no page locks more than a 256th of the registry at a time.
    ///
    /// ```
    /// # use session_process::{Process, Sessions};
    /// # #[derive(Default)] struct Cart; impl Process for Cart {}
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sessions = Sessions::<Cart>::builder().build()?;
    /// let mut next = None;
    /// loop {
    ///     let page = sessions.list_page(next, 100);
    ///     for id in &page.ids {
    ///         println!("{id}"); // its public handle
    ///     }
    ///     next = page.next;
    ///     if next.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn list_page(&self, after: Option<Cursor>, limit: usize) -> Page {
        let now = self.engine.now();
        let (sessions, next) = self.engine.registry.page(after, limit.max(1));
        let live = sessions.iter().filter(|session| session.is_live(now));
        Page {
            ids: live.map(|session| session.id()).collect(),
            next,
        }
    }

    /// Numbers of the engine, exact, without going through the sessions.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            sessions: self.engine.registry.len(),
            max_sessions: self.engine.config.max_sessions,
            started: self.engine.started_total(),
            ended: self.engine.ended_total(),
            shutting_down: self.engine.is_closing(),
        }
    }

    /// What there is to know of one session.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub fn session_stats(&self, id: &SessionId) -> Result<SessionStats, NotStarted> {
        let now = self.engine.now();
        let session = self.engine.registry.get(id).filter(|session| session.is_live(now));
        let session = session.ok_or_else(|| NotStarted { id: id.clone() })?;
        Ok(session.stats(now))
    }

    /// Whether the engine takes new sessions, for a health check.
    #[must_use]
    pub fn health(&self) -> Health {
        let stats = self.stats();
        if stats.shutting_down {
            Health::ShuttingDown
        } else if stats.sessions >= stats.max_sessions {
            Health::Full
        } else {
            Health::Ok
        }
    }

    /// The events of this engine, from now on. The table is in [`events`](crate::events).
    #[must_use]
    pub fn events(&self) -> Subscriber {
        self.engine.events.subscribe()
    }

    /// Tells of an id that a request presented and that was not taken. For whoever reads ids from requests, as
    /// `session-process-axum` does.
    pub fn refused_id(&self, reason: RefusedId) {
        self.engine.events.emit(|| Event::IdRefused { reason });
    }

    /// Tells of a request that was refused before its session was looked at. For whoever reads requests, as
    /// `session-process-axum` does. `reason` is a short stable word.
    pub fn refused_request(&self, reason: &'static str) {
        self.engine.events.emit(|| Event::RequestRefused { reason });
    }

    /// Tells of somebody who presents one unknown id after the other. For whoever reads ids from requests. `source` is
    /// whatever requests are told apart by, such as an address.
    pub fn guessed_ids(&self, source: &str, ids: u32) {
        let source = || source.into();
        self.engine.events.emit(|| Event::Guessing { source: source(), ids });
    }

    /// A live page was greeted: [`Event::PageOpened`]. This and the next three are for `session-process-axum`.
    #[doc(hidden)]
    pub fn page_opened(&self, id: &SessionId, transport: &'static str, resume: &'static str) {
        self.engine.events.emit(|| Event::PageOpened {
            session: id.public_handle(),
            transport,
            resume,
        });
    }

    /// A live page that was greeted is closed: [`Event::PageClosed`].
    #[doc(hidden)]
    pub fn page_closed(&self, id: &SessionId, transport: &'static str, reason: &'static str, open_for: Duration) {
        self.engine.events.emit(|| Event::PageClosed {
            session: id.public_handle(),
            transport,
            reason,
            open_for,
        });
    }

    /// A limit refused a live page, or what one sent: [`Event::PageRefused`].
    #[doc(hidden)]
    pub fn page_refused(&self, limit: &'static str) {
        self.engine.events.emit(|| Event::PageRefused { limit });
    }

    /// A frame went to a live page. It is counted where the feature `metrics` is on: frames are too many for events.
    /// `coalesced`: views that were skipped because this frame is newer. `dropped`: events that the page was too slow for.
    #[doc(hidden)]
    #[cfg_attr(not(feature = "metrics"), allow(unused_variables, clippy::unused_self))]
    #[inline]
    pub fn page_told(&self, frame: &'static str, coalesced: u64, dropped: u64) {
        #[cfg(feature = "metrics")]
        crate::events::metrics::frame_sent(frame, coalesced, dropped);
    }

    /// The records that durable sessions are kept in, if there are any.
    #[must_use]
    pub fn records(&self) -> Option<&SessionRecords> {
        self.engine.records.as_ref()
    }

    /// How long this engine has been there, by its clock: for time limits beside it that a test is to drive.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        Duration::from_nanos(self.engine.now())
    }

    /// The limits that this engine was built with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.engine.config
    }

    /// Ends the engine in order: no new sessions and messages; what waits is handled; terminate hooks run. What is
    /// not done by the deadline is cut off, and reported.
    ///
    /// # Cancel safety
    /// The engine stays closed and its sessions end, but those that hang are not cut off. Call it again for that.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.engine.shutdown(deadline).await
    }

    /// Ends every session whose time is up by now, and says how many there were. For tests: the sweeper does this by
    /// itself.
    #[cfg(any(test, feature = "testing"))]
    pub async fn expire_now(&self) -> usize {
        engine::sweep_all(&self.engine).await
    }
}

impl<P> fmt::Debug for Sessions<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("process", &std::any::type_name::<P>())
            .field("sessions", &self.engine.registry.len())
            .finish_non_exhaustive()
    }
}

/// A page of [`Sessions::list_page`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// Live sessions.
    pub ids: Vec<SessionId>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<Cursor>,
}

/// Numbers of an engine: [`Sessions::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sessions in the registry: those that start or end just now among them.
    pub sessions: usize,
    /// The limit.
    pub max_sessions: usize,
    /// Sessions started since the engine was built.
    pub started: u64,
    /// Sessions that left the registry since then, those among them whose `init` failed.
    pub ended: u64,
    /// [`Sessions::shutdown`] was called.
    pub shutting_down: bool,
}

/// Whether an engine takes new sessions: [`Sessions::health`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It does.
    Ok,
    /// `max_sessions` are live.
    Full,
    /// It shuts down.
    ShuttingDown,
}
