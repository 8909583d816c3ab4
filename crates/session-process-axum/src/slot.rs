//! [`Slot`]: what one request knows of its session, shared by all extractors of that request.
//!
//! # Invariants
//! 1. An id in the slot is one that the cookie named and whose session was there, or one from
//!    [`SessionId::generate`]. An id that is unknown or whose session has ended is never started.
//! 2. Where the store can't be asked, the request has neither a session nor none: it fails, and the cookie stays.
//! 3. A request starts its session under one id, however many extractors ask at once.
//! 4. The cookie is set for a session that this request started or rotated, unless it is known to have ended when the
//!    response leaves.
//! 5. Once the response has left, no session is started or rotated: the browser would not hear of it.
//! 6. Look-ups and rotations of one request take turns (`turn`), so each finds what the one before has left.
//!
//! The lock of the state is never held across a wait.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header, request::Parts};
use session_process::{EndReason, Process, RotateError, SessionId, Sessions, TerminateError, events::RefusedId};

use crate::{Error, MissingSessionLayer, cookie::Cookie, presented, to_the_end::to_the_end};

pub(crate) type StartKey = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// What all requests of a layer share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) sessions: Sessions<Untyped>,
    pub(crate) cookie: Cookie,
    pub(crate) start_key: Option<Arc<StartKey>>,
}

/// Stands for any process type where only the id counts. Nothing of this type is ever started.
pub(crate) enum Untyped {}

impl Process for Untyped {}

#[derive(Clone)]
pub(crate) struct Slot {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct State {
    current: Current,
    /// Whom a start counts for.
    key: Option<Box<str>>,
    /// Somebody asked for the session, so the response may depend on it.
    used: bool,
    /// This request started the session.
    started: bool,
    /// The session has another id than the request came with.
    renamed: bool,
    /// This request ended its session.
    ended: bool,
    /// The response has left.
    sealed: bool,
}

enum Current {
    /// From the cookie: well-formed, and not looked up yet.
    Presented(SessionId),
    Live(SessionId),
    /// No session. If one is being started, its id is there.
    Absent {
        starting: Option<SessionId>,
    },
}

/// Where a session is to be started.
pub(crate) enum Begin {
    /// Nowhere: another extractor of this request has just done it.
    Live(SessionId),
    Under(SessionId),
}

impl Slot {
    pub(crate) fn new(shared: Arc<Shared>, headers: &HeaderMap) -> Self {
        let current = match presented::read(shared.cookie.name(), headers) {
            Ok(Some(id)) => Current::Presented(id),
            Ok(None) => Current::Absent { starting: None },
            Err(reason) => {
                shared.sessions.refused_id(reason);
                Current::Absent { starting: None }
            }
        };
        let state = State {
            current,
            key: None,
            used: false,
            started: false,
            renamed: false,
            ended: false,
            sealed: false,
        };
        Self {
            shared,
            state: Arc::new(Mutex::new(state)),
            turn: Arc::default(),
        }
    }

    pub(crate) fn of(parts: &Parts) -> Result<Self, MissingSessionLayer> {
        let slot = parts.extensions.get::<Self>().ok_or(MissingSessionLayer)?;
        if let Some(start_key) = &slot.shared.start_key {
            let key = start_key(parts).map(String::into_boxed_str);
            slot.lock().key = key;
        }
        Ok(slot.clone())
    }

    pub(crate) fn sessions(&self) -> &Sessions<Untyped> {
        &self.shared.sessions
    }

    pub(crate) fn start_key(&self) -> Option<Box<str>> {
        self.lock().key.clone()
    }

    /// The session as this request last saw it. The cookie's id is looked up the first time.
    ///
    /// # Errors
    /// [`Error::Store`]: it is open whether there is one. The next to ask looks it up again.
    pub(crate) async fn current(&self) -> Result<Option<SessionId>, Error> {
        if let Ok(known) = self.known() {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        self.look_up().await
    }

    /// What is known without asking; an error has the id that is still to be looked up.
    fn known(&self) -> Result<Option<SessionId>, SessionId> {
        let mut state = self.lock();
        state.used = true;
        match &state.current {
            Current::Live(id) => Ok(Some(id.clone())),
            Current::Absent { .. } => Ok(None),
            Current::Presented(id) => Err(id.clone()),
        }
    }

    /// Looks the cookie's id up. For the holder of the turn, so that one look-up is enough for all.
    async fn look_up(&self) -> Result<Option<SessionId>, Error> {
        let id = match self.known() {
            Ok(known) => return Ok(known),
            Err(presented) => presented,
        };
        if self.sessions().exists(&id).await? {
            self.lock().current = Current::Live(id.clone());
            return Ok(Some(id));
        }
        self.lock().current = Current::Absent { starting: None };
        self.shared.sessions.refused_id(RefusedId::Unknown);
        Ok(None)
    }

    /// The session, if there is one at this moment, in memory or asleep.
    pub(crate) async fn live(&self) -> Result<Option<SessionId>, Error> {
        while let Some(id) = self.current().await? {
            if self.sessions().exists(&id).await? {
                return Ok(Some(id));
            }
            // And once more: another extractor may have rotated it meanwhile.
            self.lost(&id);
        }
        Ok(None)
    }

    /// The session under this id is no more. (Not so if the request has given it another id meanwhile.)
    pub(crate) fn lost(&self, lost: &SessionId) {
        let mut state = self.lock();
        if matches!(&state.current, Current::Live(id) if id == lost) {
            state.current = Current::Absent { starting: None };
            state.started = false;
            state.renamed = false;
        }
    }

    /// The id for a session to be started. It is the request's only with [`adopt`](Self::adopt).
    pub(crate) async fn begin(&self) -> Result<Begin, Error> {
        if let Some(id) = self.current().await? {
            return Ok(Begin::Live(id));
        }
        let mut state = self.lock();
        let sealed = state.sealed;
        match &mut state.current {
            Current::Live(id) | Current::Presented(id) => Ok(Begin::Live(id.clone())),
            Current::Absent { .. } if sealed => Err(Error::ResponseSent),
            Current::Absent { starting } => Ok(Begin::Under(starting.get_or_insert_with(SessionId::generate).clone())),
        }
    }

    /// The session was started under this id: it is the request's, and the response will say so.
    ///
    /// # Errors
    /// The request doesn't want it any more: its response has left, or it has ended its session.
    pub(crate) fn adopt(&self, id: &SessionId) -> Result<(), Error> {
        let mut state = self.lock();
        match &state.current {
            Current::Live(_) | Current::Presented(_) => Ok(()),
            Current::Absent { .. } if state.sealed => Err(Error::ResponseSent),
            Current::Absent { starting } if starting.as_ref() == Some(id) => {
                state.current = Current::Live(id.clone());
                state.started = true;
                state.renamed = true;
                Ok(())
            }
            Current::Absent { .. } => Err(Error::NotStarted { id: id.clone() }),
        }
    }

    /// Gives the session another id; `None` if there is no session. At once, not when the response leaves: a handler
    /// that is dropped after the login must not leave the old id signed in.
    ///
    /// # Cancel safety
    /// What has begun goes on to its end, and the slot hears of it.
    pub(crate) async fn rotate(&self) -> Result<Option<SessionId>, Error> {
        let slot = self.clone();
        to_the_end(async move {
            let _turn = slot.turn.lock().await;
            slot.rotate_in_turn().await
        })
        .await
    }

    async fn rotate_in_turn(&self) -> Result<Option<SessionId>, Error> {
        while let Some(id) = self.look_up().await? {
            if self.lock().sealed {
                return Err(Error::ResponseSent);
            }
            match self.sessions().rotate(&id).await {
                Ok(to) => {
                    let mut state = self.lock();
                    if matches!(&state.current, Current::Live(now) if *now == id) {
                        state.current = Current::Live(to.clone());
                        state.renamed = true;
                    }
                    return Ok(Some(to));
                }
                Err(RotateError::NotStarted { .. }) => self.lost(&id),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Ends the session, and has the response remove the cookie. Returns whether there was a session.
    ///
    /// # Errors
    /// The session may live on, so the cookie stays.
    ///
    /// # Cancel safety
    /// What has begun goes on to its end.
    pub(crate) async fn end(&self, within: Duration) -> Result<bool, Error> {
        let slot = self.clone();
        to_the_end(async move {
            let _turn = slot.turn.lock().await;
            let Some(id) = slot.look_up().await? else {
                slot.forget(None);
                return Ok(false);
            };
            let there =
                match tokio::time::timeout(within, slot.sessions().terminate_for(&id, EndReason::LoggedOut)).await {
                    Ok(Ok(())) => true,
                    Ok(Err(TerminateError::NotStarted { .. })) => false,
                    Ok(Err(error)) => return Err(error.into()),
                    // It takes no messages any more, and a handler is still at work; or the store is.
                    Err(_) if slot.sessions().exists(&id).await? => return Err(Error::Timeout { id, within }),
                    Err(_) => true,
                };
            slot.forget(Some(&id));
            Ok(there)
        })
        .await
    }

    /// The session is ended: the response removes the cookie, unless another session begins.
    fn forget(&self, ended: Option<&SessionId>) {
        let mut state = self.lock();
        state.ended = true;
        let is_another = matches!(&state.current, Current::Live(id) if Some(id) != ended);
        if !is_another {
            // Also one that is just being started: the request doesn't want it any more.
            state.current = Current::Absent { starting: None };
            state.started = false;
            state.renamed = false;
        }
    }

    pub(crate) fn is_new(&self) -> bool {
        self.lock().started
    }

    /// Nothing of this request reaches the browser any more.
    pub(crate) fn seal(&self) {
        self.lock().sealed = true;
    }

    /// Writes into the response what the browser has to know.
    pub(crate) fn finish(&self, headers: &mut HeaderMap) {
        let (cookie, used) = {
            let mut state = self.lock();
            state.sealed = true;
            let cookie = match &state.current {
                Current::Live(id) if state.renamed && !self.is_over(id) => Some(self.shared.cookie.set(id)),
                _ if state.ended => Some(self.shared.cookie.remove()),
                _ => None,
            };
            (cookie, state.used)
        };
        if let Some(cookie) = cookie {
            headers.append(header::SET_COOKIE, cookie);
        }
        if used && !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }

    /// Whether the session is known to be no more, without a wait. Of one that may sleep it is not known, and a cookie
    /// too many does no harm.
    fn is_over(&self, id: &SessionId) -> bool {
        let exists = pin!(self.sessions().exists(id));
        let known = exists.poll(&mut Context::from_waker(Waker::noop()));
        matches!(known, Poll::Ready(Ok(false)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
