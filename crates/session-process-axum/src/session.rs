//! [`Session`]: the session of a request.

use std::{fmt, time::Duration};

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use session_process::{
    CallError, CastError, EndReason, Handle, Init, Monitor, Process, SessionId, Sessions, StartOptions,
};

use crate::{
    Error, MissingSessionLayer, SessionRejection,
    slot::{Begin, Slot},
};

/// How often a message is sent until it meets a live session: as found; under the id that another request has just
/// given it; then to a fresh one, because that has just ended; then once more, because another extractor of the request
/// rotated it.
const ATTEMPTS: usize = 4;

/// Extractor: the session that this request belongs to, seen as a process of type `P`.
///
/// Extracting it does nothing: no process, no cookie. The first message starts the process, under a fresh id, and the
/// response sets the cookie. `Option<Session<P>>` is `Some` only if the request came with a live session.
///
/// All extractors of a request, in its handler and in middleware, share one session.
///
/// ```
/// use session_process::{Context, Handle, Process};
/// use session_process_axum::{Error, Session};
///
/// #[derive(Default)]
/// struct Visits(u32);
/// impl Process for Visits {}
///
/// struct Visit;
/// impl Handle<Visit> for Visits {
///     type Reply = u32;
///     async fn handle(&mut self, _: Visit, _: &mut Context<Self>) -> u32 {
///         self.0 += 1;
///         self.0
///     }
/// }
///
/// async fn visit(session: Session<Visits>) -> Result<String, Error> {
///     let visits = session.call(Visit).await?;
///     Ok(format!("visit {visits}"))
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::get(visit));
/// ```
///
/// # A session that ends meanwhile
/// If the session ends or expires before a message reaches it, the message goes to a fresh one, with a fresh id and a
/// new cookie: an old id is never brought back. A handler that must not begin a session says
/// [`call_if_started`](Self::call_if_started).
///
/// # A session that sleeps
/// A durable session may be in the store alone: it sleeps, or the program was started anew. That is a live session, and
/// a message wakes it. If the store can't be asked, that is an [`Error`], and neither "no session" nor a fresh one.
///
/// # Cancel safety
/// A request that is dropped, because its client went away, leaves every message handled whole or not at all. A
/// session that it has started, and whose cookie was never sent, is unused and goes with its idle timeout. An id that
/// it has rotated stays rotated.
pub struct Session<P> {
    slot: Slot,
    sessions: Sessions<P>,
}

impl<P> Clone for Session<P> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            sessions: self.sessions.clone(),
        }
    }
}

impl<P: Process> Session<P> {
    fn new(slot: Slot) -> Self {
        let sessions = slot.sessions().of::<P>();
        Self { slot, sessions }
    }

    /// The session of a request, where nobody extracts it: in a tower service or middleware without axum.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use session_process::Attributes;
    /// use session_process_axum::{MissingSessionLayer, Session};
    ///
    /// async fn service(request: Request<String>) -> Result<Response<String>, MissingSessionLayer> {
    ///     let (parts, _body) = request.into_parts();
    ///     let session = Session::<Attributes>::from_parts(&parts)?;
    ///     let response = match session.is_started().await {
    ///         Ok(there) => Response::new(format!("a session: {there}")),
    ///         Err(error) => {
    ///             let mut response = Response::new(error.body_text().to_owned());
    ///             *response.status_mut() = error.status();
    ///             response
    ///         }
    ///     };
    ///     Ok(response)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`MissingSessionLayer`].
    pub fn from_parts(parts: &Parts) -> Result<Self, MissingSessionLayer> {
        Slot::of(parts).map(Self::new)
    }

    /// Sends a message and waits for the reply. Starts the session first, if there is none.
    ///
    /// # Errors
    /// [`Error`]: the session could not be started, or has no reply.
    ///
    /// # Cancel safety
    /// As [`Sessions::call`].
    pub async fn call<M>(&self, message: M) -> Result<P::Reply, Error>
    where
        P: Handle<M> + Init,
        M: Send + 'static,
    {
        self.call_within(message, self.sessions.config().call_timeout).await
    }

    /// The same with another deadline than the engine's.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    /// As [`Sessions::call`].
    pub async fn call_within<M>(&self, mut message: M, within: Duration) -> Result<P::Reply, Error>
    where
        P: Handle<M> + Init,
        M: Send + 'static,
    {
        for attempt in 1.. {
            let id = self.id_or_start(()).await?;
            match self.sessions.call_within(&id, message, within).await {
                Err(error) if attempt < ATTEMPTS && missed(&error) => message = self.missed(&id, error).await?,
                outcome => return Ok(outcome?),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Sends a message and waits for the reply, if there is a session; `None` if not. Never starts one.
    ///
    /// For handlers that only look, and for processes that take arguments ([`start_with`](Self::start_with)).
    ///
    /// # Errors
    /// [`Error`]: the session has no reply.
    ///
    /// # Cancel safety
    /// As [`Sessions::call`].
    pub async fn call_if_started<M>(&self, mut message: M) -> Result<Option<P::Reply>, Error>
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        for attempt in 1.. {
            let Some(id) = self.slot.current().await? else { break };
            match self.sessions.call(&id, message).await {
                Err(error) if attempt < ATTEMPTS && missed(&error) => message = self.missed(&id, error).await?,
                outcome => return Ok(Some(outcome?)),
            }
        }
        Ok(None)
    }

    /// Sends a message and doesn't wait for it to be handled. Starts the session first, if there is none; that is
    /// what it waits for.
    ///
    /// # Errors
    /// [`Error`]: the session could not be started, or takes no message.
    ///
    /// # Cancel safety
    /// The message is sent or not.
    pub async fn cast<M>(&self, mut message: M) -> Result<(), Error>
    where
        P: Handle<M> + Init,
        M: Send + 'static,
    {
        for attempt in 1.. {
            let id = self.id_or_start(()).await?;
            match self.sessions.cast(&id, message) {
                Err(CastError::NotStarted { message: back, .. } | CastError::NotAwake { message: back, .. })
                    if attempt < ATTEMPTS =>
                {
                    self.gone(&id).await?;
                    message = back;
                }
                outcome => return Ok(outcome?),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Sends a message, if there is a session, and says whether there is. Never starts one.
    ///
    /// # Errors
    /// [`Error`]: the session takes no message, or the store could not be asked for it.
    ///
    /// # Cancel safety
    /// The message is sent or not.
    pub async fn cast_if_started<M>(&self, mut message: M) -> Result<bool, Error>
    where
        P: Handle<M>,
        M: Send + 'static,
    {
        for attempt in 1.. {
            let Some(id) = self.slot.current().await? else { break };
            match self.sessions.cast(&id, message) {
                Err(CastError::NotStarted { message: back, .. } | CastError::NotAwake { message: back, .. })
                    if attempt < ATTEMPTS =>
                {
                    self.gone(&id).await?;
                    message = back;
                }
                outcome => return outcome.map(|()| true).map_err(Error::from),
            }
        }
        Ok(false)
    }

    /// A message has met no session under this id: it comes back for the next one, if the session is gone.
    async fn missed<M>(&self, id: &SessionId, error: CallError<M>) -> Result<M, Error> {
        match error {
            CallError::NotStarted { message, .. } => {
                self.gone(id).await?;
                Ok(message)
            }
            CallError::Ended {
                reason,
                message: Some(message),
                ..
            } => {
                // One that fell asleep is not lost: the same again wakes it.
                if reason != EndReason::Asleep {
                    self.slot.lost(id);
                }
                Ok(message)
            }
            error => Err(error.into()),
        }
    }

    /// Forgets a session that a message did not find; or wakes it, if it is there all the same.
    ///
    /// # Errors
    /// [`Error::WrongProcess`]: it sleeps, and is not of this type. It must not be replaced by a fresh one.
    /// [`Error::Store`]: that is open. What else a wake comes to.
    async fn gone(&self, id: &SessionId) -> Result<(), Error> {
        if !self.sessions.wake(id).await? {
            self.slot.lost(id);
        }
        Ok(())
    }

    /// Starts the session, unless there is one, and so sets its cookie: where a page is to have one before its first
    /// message, as live pages do. Returns whether there was none.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with).
    ///
    /// # Cancel safety
    /// As [`start_with`](Self::start_with).
    pub async fn start(&self) -> Result<bool, Error>
    where
        P: Init,
    {
        self.start_with(()).await
    }

    /// Starts the session with arguments, unless there is one. Returns whether there was none.
    ///
    /// # Errors
    /// [`Error`]: a limit, a failed `init`, a shutdown.
    ///
    /// # Cancel safety
    /// An `init` that has begun goes on, for a session whose id nobody knows.
    pub async fn start_with<A>(&self, args: A) -> Result<bool, Error>
    where
        P: Init<A>,
        A: Clone + Send + Sync + 'static,
    {
        if self.slot.live().await?.is_some() {
            return Ok(false);
        }
        self.start_or_join(args).await.map(|(_, started)| started)
    }

    async fn id_or_start<A>(&self, args: A) -> Result<SessionId, Error>
    where
        P: Init<A>,
        A: Clone + Send + Sync + 'static,
    {
        self.start_or_join(args).await.map(|(id, _)| id)
    }

    /// The session's id, and whether this very call has started it.
    async fn start_or_join<A>(&self, args: A) -> Result<(SessionId, bool), Error>
    where
        P: Init<A>,
        A: Clone + Send + Sync + 'static,
    {
        let id = match self.slot.begin().await? {
            Begin::Live(id) => return Ok((id, false)),
            Begin::Under(id) => id,
        };
        let options = match self.slot.start_key() {
            Some(key) => StartOptions::new().key(key),
            None => StartOptions::new(),
        };
        let started = self.sessions.start_with_options(&id, args, &options).await?;
        if let Err(error) = self.slot.adopt(&id) {
            // No browser would ever name it. That somebody else has ended it is as good.
            let _ = self.sessions.terminate(&id).await;
            return Err(error);
        }
        Ok((id, started))
    }

    /// Gives the session a new id, and returns it. The old one is dead at once; the state stays. Starts a session, if
    /// there is none.
    ///
    /// At login, at re-authentication, at any change of what the session may do: an id that somebody else planted or
    /// saw before is worth nothing afterwards. Rotate **before** the session is told who the user is, so that the old
    /// id is never signed in.
    ///
    /// Another request of the same browser that is on its way meanwhile comes with the old id and finds no session.
    ///
    /// A durable session moves in the store, also if it sleeps.
    ///
    /// # Errors
    /// [`Error`]: the session could not be started, or moved in the store.
    ///
    /// # Cancel safety
    /// As [`start_with`](Self::start_with); a rotation that has begun goes on to its end, and the response tells the
    /// browser, unless it has left before.
    pub async fn rotate(&self) -> Result<SessionId, Error>
    where
        P: Init,
    {
        match self.rotate_if_started().await? {
            Some(id) => Ok(id),
            None => self.id_or_start(()).await,
        }
    }

    /// Gives the session a new id, if there is a session.
    ///
    /// # Errors
    /// [`Error::ResponseSent`]; [`Error::Store`].
    ///
    /// # Cancel safety
    /// As [`rotate`](Self::rotate).
    pub async fn rotate_if_started(&self) -> Result<Option<SessionId>, Error> {
        self.slot.rotate().await
    }

    /// Ends the session and has the response remove the cookie: a logout. Returns whether there was a session. A
    /// message sent after this begins a new session.
    ///
    /// A durable session's record goes first, also if the session sleeps. The id is dead then. Waits until the
    /// terminate hook has run, for the engine's [`call_timeout`](session_process::Builder::call_timeout) at most; a
    /// handler that is at work is not cut off.
    ///
    /// # Errors
    /// [`Error::Store`]: the session could not be removed and lives on; [`Error::Timeout`]: not in time. The cookie
    /// stays: tell the user that they are **not** signed out, and to try again.
    ///
    /// # Cancel safety
    /// What has begun goes on to its end: a client that goes away is signed out all the same.
    pub async fn end(&self) -> Result<bool, Error> {
        self.slot.end(self.sessions.config().call_timeout).await
    }

    /// The id, if there is a live session, in memory or asleep. For a log or a page, its
    /// [`public_handle`](session_process::SessionId::public_handle).
    ///
    /// # Errors
    /// [`Error::Store`]: the session is not in memory, and the store could not be asked. Not the same as `None`.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn id(&self) -> Result<Option<SessionId>, Error> {
        self.slot.live().await
    }

    /// Whether there is a live session, in memory or asleep.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn is_started(&self) -> Result<bool, Error> {
        Ok(self.id().await?.is_some())
    }

    /// Whether this very request has started its session.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.slot.is_new()
    }

    /// Counts as a use: the session's idle time begins anew, also of one that sleeps. Returns whether there is a
    /// session.
    ///
    /// # Errors
    /// As [`id`](Self::id).
    ///
    /// # Cancel safety
    /// It may have been counted.
    pub async fn touch(&self) -> Result<bool, Error> {
        while let Some(id) = self.slot.current().await? {
            if self.sessions.refresh(&id).await? {
                return Ok(true);
            }
            self.slot.lost(&id);
        }
        Ok(false)
    }

    /// Follows the session to its end, if there is one. Wakes one that sleeps; it stays awake while somebody follows it.
    ///
    /// # Errors
    /// As [`id`](Self::id), and what a wake may come to: [`Error::WrongProcess`], [`Error::SessionLimit`],
    /// [`Error::NotLoaded`].
    ///
    /// # Cancel safety
    /// It may have been woken.
    pub async fn monitor(&self) -> Result<Option<Monitor>, Error> {
        while let Some(id) = self.slot.current().await? {
            if let Ok(monitor) = self.sessions.monitor(&id) {
                return Ok(Some(monitor));
            }
            self.gone(&id).await?;
        }
        Ok(None)
    }

    /// All sessions of the engine.
    #[must_use]
    pub fn sessions(&self) -> &Sessions<P> {
        &self.sessions
    }
}

/// Whether nobody began to handle the message because there was no session to do it.
fn missed<M>(error: &CallError<M>) -> bool {
    match error {
        CallError::NotStarted { .. } => true,
        // At a shutdown the session is not lost: it may be there again in a moment.
        CallError::Ended { reason, message, .. } => message.is_some() && *reason != EndReason::Shutdown,
        _ => false,
    }
}

impl<P> fmt::Debug for Session<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("process", &std::any::type_name::<P>())
            .finish_non_exhaustive()
    }
}

impl<P: Process, S: Send + Sync> FromRequestParts<S> for Session<P> {
    type Rejection = MissingSessionLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::from_parts(parts)
    }
}

impl<P: Process, S: Send + Sync> OptionalFromRequestParts<S> for Session<P> {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        let slot = Slot::of(parts)?;
        Ok(slot.live().await?.is_some().then(|| Self::new(slot)))
    }
}
