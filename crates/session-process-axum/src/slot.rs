//! [`Slot`]: what one request knows of its session, shared by all extractors of that request.
//!
//! # Invariants
//! 1. An id in the slot is one that the cookie named and whose session was there, or one from
//!    [`SessionId::generate`]. An id that is unknown or whose session has ended is never started.
//! 2. Where the store can't be asked, the request has neither a session nor none: it fails, and the cookie stays. The
//!    same for a request whose id is not looked up, because too many like it were made up.
//! 3. A request starts its session under one id, however many extractors ask at once.
//! 4. The cookie is set for a session that this request started, rotated or followed to another id, unless it has ended
//!    when the response leaves.
//! 5. Once the response has left, no session is started or rotated: the browser would not hear of it.
//! 6. Look-ups and rotations of one request take turns (`turn`), so each finds what the one before has left.
//!
//! The lock of the state is never held across a wait.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header, request::Parts};
use session_process::{EndReason, Process, RotateError, SessionId, Sessions, TerminateError, events::RefusedId};

use crate::{
    Error, MissingSessionLayer,
    cookie::Cookie,
    guesses::{Guesses, Verdict},
    origin::Origins,
    presented,
    renewal::Renewals,
    to_the_end::to_the_end,
};

pub(crate) type StartKey = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// What all requests of a layer share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) sessions: Sessions<Untyped>,
    pub(crate) cookie: Cookie,
    pub(crate) start_key: Option<Arc<StartKey>>,
    pub(crate) origins: Origins,
    pub(crate) guesses: Option<Arc<Guesses>>,
    pub(crate) renewals: Option<Arc<Renewals>>,
}

/// Stands for any process type where only the id counts. Nothing of this type is ever started.
pub(crate) enum Untyped {}

impl Process for Untyped {}

#[derive(Clone)]
pub(crate) struct Slot(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    state: Mutex<State>,
    turn: tokio::sync::Mutex<()>,
}

struct State {
    current: Current,
    /// Whom a start counts for.
    key: Option<Box<str>>,
    /// Whom a bad id counts for, where somebody counts; known when the first extractor has come.
    source: Option<Box<str>>,
    /// Stands for a bad id that was not counted yet.
    bad: Option<u32>,
    /// Nothing is looked up for this request: too many ids from there were bad.
    held_off: Option<Duration>,
    /// Somebody asked for the session, so the response may depend on it.
    used: bool,
    /// This request started the session.
    started: bool,
    /// The browser is to be told an id: another one than the request came with, or the same in another form.
    renamed: bool,
    /// The cookie would be written differently today.
    outdated: bool,
    /// This request ended its session.
    ended: bool,
    /// The response has left.
    sealed: bool,
}

enum Current {
    /// What the browser has sent.
    Unread(Cookies),
    /// From the cookie: well-formed, and not looked up yet.
    Presented(SessionId),
    Live(SessionId),
    /// No session. If one is being started, its id is there.
    Absent {
        starting: Option<SessionId>,
    },
}

/// The headers of that name: one, as a rule.
enum Cookies {
    None,
    One(HeaderValue),
    Many(Vec<HeaderValue>),
}

impl Cookies {
    fn push(&mut self, value: HeaderValue) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(value),
            Self::One(first) => Self::Many(vec![first, value]),
            Self::Many(mut all) => {
                all.push(value);
                Self::Many(all)
            }
        };
    }

    fn all(&self) -> &[HeaderValue] {
        match self {
            Self::None => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(all) => all,
        }
    }
}

impl Current {
    fn is_live(&self, id: &SessionId) -> bool {
        matches!(self, Self::Live(live) if live == id)
    }
}

/// Where a session is to be started.
pub(crate) enum Begin {
    /// Nowhere: another extractor of this request has just done it.
    Live(SessionId),
    Under(SessionId),
}

impl Slot {
    /// Takes the cookies along, and reads them when somebody asks: most requests of a page ask for no session. Marks them
    /// as secret, too: a layer further in that logs headers must not log this one.
    pub(crate) fn new(shared: Arc<Shared>, headers: &mut HeaderMap) -> Self {
        let mut cookies = Cookies::None;
        if let header::Entry::Occupied(mut values) = headers.entry(header::COOKIE) {
            for value in values.iter_mut() {
                value.set_sensitive(true);
                cookies.push(value.clone());
            }
        }
        let state = State {
            current: Current::Unread(cookies),
            key: None,
            source: None,
            bad: None,
            held_off: None,
            used: false,
            started: false,
            renamed: false,
            outdated: false,
            ended: false,
            sealed: false,
        };
        Self(Arc::new(Inner {
            shared,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    pub(crate) fn of(parts: &Parts) -> Result<Self, MissingSessionLayer> {
        let slot = parts.extensions.get::<Self>().ok_or(MissingSessionLayer)?;
        if let Some(start_key) = &slot.shared().start_key {
            let key = start_key(parts).map(String::into_boxed_str);
            slot.lock().key = key;
        }
        if let Some(guesses) = &slot.shared().guesses {
            slot.meet(guesses, parts);
        }
        Ok(slot.clone())
    }

    /// Notes whom a bad id of this request counts for, and counts the one that it has presented.
    fn meet(&self, guesses: &Guesses, parts: &Parts) {
        {
            let state = self.lock();
            let may_be_bad = state.bad.is_some() || matches!(state.current, Current::Presented(_));
            if !may_be_bad || state.source.is_some() {
                return;
            }
        }
        // The application's code, so without the lock.
        let Some(source) = guesses.source_of(parts) else { return };
        let bad = {
            let mut state = self.lock();
            state.source = Some(source);
            state.bad.take()
        };
        if let Some(mark) = bad {
            self.count(mark);
        }
    }

    /// A bad id of this request's. Its source may be held off by it.
    fn count(&self, mark: u32) {
        let (Some(guesses), Some(source)) = (&self.shared().guesses, self.lock().source.clone()) else {
            return;
        };
        let rest = match guesses.note(&source, mark, self.sessions().uptime()) {
            Verdict::Tolerated => return,
            Verdict::HeldOff(rest) => rest,
            Verdict::Caught(ids, rest) => {
                self.sessions().guessed_ids(&source, ids);
                rest
            }
        };
        self.lock().held_off = Some(rest);
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn sessions(&self) -> &Sessions<Untyped> {
        &self.shared().sessions
    }

    pub(crate) fn start_key(&self) -> Option<Box<str>> {
        self.lock().key.clone()
    }

    /// The session as this request last saw it. The cookie's id is looked up the first time.
    ///
    /// # Errors
    /// [`Error::Store`]: it is open whether there is one. The next to ask looks it up again.
    /// [`Error::TooManyGuesses`]: it stays open.
    pub(crate) async fn current(&self) -> Result<Option<SessionId>, Error> {
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.0.turn.lock().await;
        self.look_up().await
    }

    /// What is known without a wait.
    fn known(&self) -> Option<Result<Option<SessionId>, Error>> {
        let mut state = self.lock();
        state.used = true;
        if let Some(retry_after) = state.held_off {
            return Some(Err(Error::TooManyGuesses { retry_after }));
        }
        match &state.current {
            Current::Live(id) => Some(Ok(Some(id.clone()))),
            Current::Absent { .. } => Some(Ok(None)),
            // Most are in memory.
            Current::Presented(id) if self.shared().renewals.is_none() && self.sessions().is_started(id) => {
                let id = id.clone();
                state.found(id.clone());
                Some(Ok(Some(id)))
            }
            Current::Presented(_) | Current::Unread(_) => None,
        }
    }

    /// Looks the cookie's id up. For the holder of the turn, so that one look-up is enough for all.
    async fn look_up(&self) -> Result<Option<SessionId>, Error> {
        if let Some(known) = self.known() {
            return known;
        }
        let id = match &self.lock().current {
            Current::Presented(id) => id.clone(),
            _ => unreachable!("the rest is known"),
        };
        if !self.sessions().is_started(&id) {
            self.may_look_up()?;
        }
        if self.sessions().exists(&id).await? {
            self.lock().found(id.clone());
            return Ok(Some(self.renewed(id).await));
        }
        if let Some(to) = self.follow(&id)
            && self.sessions().exists(&to).await?
        {
            let mut state = self.lock();
            state.current = Current::Live(to.clone());
            state.renamed = true;
            return Ok(Some(to));
        }
        self.lock().current = Current::Absent { starting: None };
        self.sessions().refused_id(RefusedId::Unknown);
        if let Some(guesses) = &self.shared().guesses {
            self.count(guesses.mark(id.expose().as_bytes()));
        }
        self.known().unwrap_or(Ok(None))
    }

    /// Whether the store may be asked for an id that this request presents.
    fn may_look_up(&self) -> Result<(), Error> {
        let mut state = self.lock();
        if let (Some(guesses), Some(source)) = (&self.shared().guesses, &state.source)
            && let Some(retry_after) = guesses.held_off(source, self.sessions().uptime())
        {
            state.held_off = Some(retry_after);
            return Err(Error::TooManyGuesses { retry_after });
        }
        Ok(())
    }

    /// Where this id leads, if it was renewed lately.
    fn follow(&self, id: &SessionId) -> Option<SessionId> {
        let renewals = self.shared().renewals.as_ref()?;
        renewals.follow(id, self.sessions().uptime())
    }

    /// Gives the session another id, if it has had this one for long. For the holder of the turn.
    async fn renewed(&self, id: SessionId) -> SessionId {
        let Some(renewals) = &self.shared().renewals else {
            return id;
        };
        // Of one that sleeps the age is not known here. It is awake with the next message.
        let stats = self.sessions().session_stats(&id);
        if self.lock().sealed || stats.is_err() || stats.is_ok_and(|stats| stats.id_age < renewals.every) {
            return id;
        }
        let Some(to) = renewals.begin(&id, self.sessions().uptime()) else {
            return id;
        };
        match self.sessions().rotate_to(&id, &to).await {
            Ok(()) => {
                let mut state = self.lock();
                state.current = Current::Live(to.clone());
                state.renamed = true;
                to
            }
            Err(_) => {
                // No reason for this request to fail: it is tried again with the next.
                renewals.forget(&id, self.sessions().uptime());
                id
            }
        }
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

    /// The session under this id is no more: it has ended, or another request has renewed its id. (Not so if this
    /// request has given it another id meanwhile.)
    pub(crate) fn lost(&self, lost: &SessionId) {
        let renewed = self.follow(lost);
        let mut state = self.lock();
        if !state.current.is_live(lost) {
            return;
        }
        state.started = false;
        state.renamed = renewed.is_some();
        state.current = match renewed {
            Some(to) => Current::Live(to),
            None => Current::Absent { starting: None },
        };
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
            Current::Unread(_) => unreachable!("it was asked for"),
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
            Current::Live(_) | Current::Presented(_) | Current::Unread(_) => Ok(()),
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
            let _turn = slot.0.turn.lock().await;
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
                    if state.current.is_live(&id) {
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
            let _turn = slot.0.turn.lock().await;
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
        self.unread().sealed = true;
    }

    /// A session whose cookie the response is to set, if it has to be asked for: it may have ended meanwhile, and then
    /// the browser would come back with a dead id.
    pub(crate) fn to_be_asked_for(&self) -> Option<SessionId> {
        let state = self.unread();
        match &state.current {
            Current::Live(id) if state.renamed && !self.sessions().is_started(id) => Some(id.clone()),
            _ => None,
        }
    }

    /// The session has ended. Where that is open, a cookie too many does no harm.
    pub(crate) async fn has_ended(&self, id: &SessionId) -> bool {
        matches!(self.sessions().exists(id).await, Ok(false))
    }

    /// Writes into the response what the browser has to know.
    pub(crate) fn finish(&self, headers: &mut HeaderMap, has_ended: bool) {
        let (cookie, used) = {
            let mut state = self.unread();
            state.sealed = true;
            let cookie = match &state.current {
                Current::Live(id) if state.renamed && !has_ended => Some(self.shared().cookie.set(id)),
                _ if state.ended => Some(self.shared().cookie.remove()),
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

    /// The state, for whoever asks for the session: the cookies are read by then.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.unread();
        if let Some(refused) = state.read(self.shared()) {
            // Whoever hears of it is the application's code, and not to run under the lock.
            drop(state);
            self.sessions().refused_id(refused);
            state = self.unread();
        }
        state
    }

    /// The state, whether or not the cookies were read.
    fn unread(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics halfway through a change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads the cookies, if they were not. Returns why what they present is not taken.
    fn read(&mut self, shared: &Shared) -> Option<RefusedId> {
        let Current::Unread(cookies) = &self.current else {
            return None;
        };
        let (current, refused) = match presented::read(&shared.cookie, cookies.all()) {
            Ok(Some((id, as_today))) => {
                self.outdated = !as_today;
                (Current::Presented(id), None)
            }
            Ok(None) => (Current::Absent { starting: None }, None),
            Err(refused) => {
                self.bad = shared.guesses.as_ref().map(|guesses| guesses.mark(refused.value));
                (Current::Absent { starting: None }, Some(refused.reason))
            }
        };
        self.current = current;
        refused
    }

    /// The session of the cookie is there.
    fn found(&mut self, id: SessionId) {
        self.current = Current::Live(id);
        // Signed with a key that is on its way out.
        self.renamed |= self.outdated;
    }
}
