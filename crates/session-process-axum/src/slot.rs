//! [`Slot`]: what one request knows of its session, shared by all extractors of that request.
//!
//! # Invariants
//! 1. An id in the slot is one that the cookie named and whose session was live, or one from
//!    [`SessionId::generate`]. An id that is unknown or whose session has ended is never started.
//! 2. A request starts its session under one id, however many extractors ask at once.
//! 3. The cookie is set for a session that this request started or rotated, and that lives when the response leaves.
//! 4. Once the response has left, no session is started or rotated: the browser would not hear of it.
//!
//! The lock is never held across a wait.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderValue, header, request::Parts};
use session_process::{Process, SessionId, Sessions, events::RefusedId};

use crate::{Error, MissingSessionLayer, cookie::Cookie, presented};

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
    pub(crate) fn current(&self) -> Option<SessionId> {
        let mut state = self.lock();
        state.used = true;
        match &state.current {
            Current::Live(id) => Some(id.clone()),
            Current::Absent { .. } => None,
            Current::Presented(id) => {
                let id = id.clone();
                if self.sessions().is_started(&id) {
                    state.current = Current::Live(id.clone());
                    Some(id)
                } else {
                    state.current = Current::Absent { starting: None };
                    drop(state);
                    self.shared.sessions.refused_id(RefusedId::Unknown);
                    None
                }
            }
        }
    }

    /// The session, if it lives at this moment.
    pub(crate) fn live(&self) -> Option<SessionId> {
        let id = self.current()?;
        if self.sessions().is_started(&id) {
            return Some(id);
        }
        self.lost(&id);
        None
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
    pub(crate) fn begin(&self) -> Result<Begin, Error> {
        if let Some(id) = self.current() {
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
    pub(crate) fn rotate(&self) -> Result<Option<SessionId>, Error> {
        if self.current().is_none() {
            return Ok(None);
        }
        let mut state = self.lock();
        let Current::Live(id) = &state.current else {
            return Ok(None);
        };
        if state.sealed {
            return Err(Error::ResponseSent);
        }
        let id = id.clone();
        match self.sessions().rotate(&id) {
            Ok(to) => {
                state.current = Current::Live(to.clone());
                state.renamed = true;
                Ok(Some(to))
            }
            Err(session_process::RotateError::NotStarted { .. }) => {
                drop(state);
                self.lost(&id);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the session and has the response remove the cookie. Returns what there was.
    pub(crate) fn end(&self) -> Option<SessionId> {
        self.current();
        let mut state = self.lock();
        state.started = false;
        state.renamed = false;
        state.ended = true;
        match mem::replace(&mut state.current, Current::Absent { starting: None }) {
            Current::Live(id) => Some(id),
            Current::Presented(_) | Current::Absent { .. } => None,
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
                Current::Live(id) if state.renamed && self.sessions().is_started(id) => {
                    Some(self.shared.cookie.set(id))
                }
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

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
