//! [`Health`]: how a store is doing; and [`Reach`], which knows it of all of its connections.

use std::{
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use session_process::store::StoreError;

/// How a store is doing: [`PostgresStore::health`](crate::PostgresStore::health). Nothing in it is secret: neither where
/// the database is nor what is in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// Whether the database can be reached.
    pub database: Reachability,
    /// For how long it has been so.
    pub database_for: Duration,
    /// How long it took to answer just now. `None`: it didn't, or too much waits for it to be asked
    /// ([`last_error`](Self::last_error) is `overloaded` then, which alone leaves a node ready).
    pub round_trip: Option<Duration>,
    /// What went wrong last, however long ago.
    pub last_error: Option<LastError>,
    /// Whether what is cached is served.
    pub cache: CacheTrust,
    /// For how long it has been so.
    pub cache_for: Duration,
    /// What waits for a connection at this moment. What is under way is not counted.
    pub waiting: Waiting,
}

impl Health {
    /// Whether requests can be sent here, for a load balancer: the database is not away.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.database != Reachability::Away
    }
}

/// Whether the database can be reached: [`Health::database`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reachability {
    /// All connections work that were asked for.
    Connected,
    /// Some do, and others can't be made: sessions of this node may fail, or its cache is of no use.
    Degraded,
    /// None does, or what was asked just now got no answer.
    Away,
}

/// Whether what is cached is served: [`Health::cache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheTrust {
    /// It is; what other nodes change is heard of.
    Listening,
    /// It is, and forgotten before it is old.
    Polling,
    /// It is not, at present: what other nodes change is not known.
    Suspect,
    /// It never is: [`Coherence::Off`](crate::Coherence::Off).
    Off,
}

impl CacheTrust {
    /// What is cached is served.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Listening | Self::Polling)
    }
}

/// An error of a store: [`Health::last_error`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// What kind of a [`StoreError`] it was: [`StoreError::kind`].
    pub kind: &'static str,
    /// The error in words, without its source. For people who run the store, not for everybody: it may quote what could
    /// not be read.
    pub message: String,
    /// PostgreSQL's code for it, if it came from there: `28P01` is a wrong password, `53300` too many connections.
    pub sqlstate: Option<String>,
    /// How long ago.
    pub ago: Duration,
}

/// What waits for a connection: [`Health::waiting`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Calls that change sessions.
    pub writes: usize,
    /// What these weigh, of [`queue_bytes`](crate::Builder::queue_bytes).
    pub write_bytes: usize,
    /// Calls that read.
    pub reads: usize,
    /// Calls that concern locks.
    pub locks: usize,
}

impl fmt::Display for Reachability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connected => "connected",
            Self::Degraded => "degraded",
            Self::Away => "away",
        })
    }
}

impl fmt::Display for CacheTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listening => "listening",
            Self::Polling => "polling",
            Self::Suspect => "suspect",
            Self::Off => "off",
        })
    }
}

/// What is known of the database, from all connections to it.
#[derive(Debug)]
pub(crate) struct Reach(Mutex<State>);

#[derive(Debug)]
struct State {
    working: usize,
    down: usize,
    /// What was asked to find out got no answer, and no connection was made since.
    unanswered: bool,
    database: Reachability,
    since: Instant,
    last_error: Option<(LastError, Instant)>,
}

impl State {
    fn settle(&mut self) {
        let database = match (self.working, self.down) {
            _ if self.unanswered => Reachability::Away,
            (_, 0) => Reachability::Connected,
            (0, _) => Reachability::Away,
            _ => Reachability::Degraded,
        };
        if self.database != database {
            (self.database, self.since) = (database, Instant::now());
        }
    }
}

impl Reach {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            working: 0,
            down: 0,
            unanswered: false,
            database: Reachability::Connected,
            since: Instant::now(),
            last_error: None,
        })))
    }

    /// For another connection.
    pub(crate) fn seat(self: &Arc<Self>) -> Seat {
        Seat {
            reach: Arc::clone(self),
            at: Mutex::new(At::Unused),
        }
    }

    /// Something went wrong.
    pub(crate) fn failed(&self, error: &StoreError) {
        // Not by `source()` of the error: that is the `Arc`, behind which the cause is not to be told.
        let mut cause: Option<&(dyn Error + 'static)> = match error {
            StoreError::Unavailable { source, .. } => source.as_deref().map(|source| source as _),
            StoreError::Failed { source, .. } => Some(&**source),
            _ => None,
        };
        let mut sqlstate = None;
        while let (Some(error), None) = (cause, &sqlstate) {
            let ours = error.downcast_ref::<tokio_postgres::Error>();
            sqlstate = ours.and_then(|error| Some(error.code()?.code().to_owned()));
            cause = error.source();
        }
        let last = LastError {
            kind: error.kind(),
            message: error.to_string(),
            sqlstate,
            ago: Duration::ZERO,
        };
        self.0.lock().last_error = Some((last, Instant::now()));
    }

    /// It was asked, to find out.
    pub(crate) fn asked(&self, answered: bool) {
        let mut state = self.0.lock();
        state.unanswered = !answered;
        state.settle();
    }

    pub(crate) fn database(&self) -> (Reachability, Duration) {
        let state = self.0.lock();
        (state.database, state.since.elapsed())
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        let state = self.0.lock();
        let (error, at) = state.last_error.as_ref()?;
        Some(LastError {
            ago: at.elapsed(),
            ..error.clone()
        })
    }
}

/// What is known of one connection. One that is not asked for any more is dropped, and counts no more.
#[derive(Debug)]
pub(crate) struct Seat {
    reach: Arc<Reach>,
    at: Mutex<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Unused,
    Working,
    Down,
}

impl Seat {
    pub(crate) fn works(&self) {
        self.set(At::Working);
    }

    /// It was given up, and is not needed at present.
    pub(crate) fn is_unused(&self) {
        self.set(At::Unused);
    }

    /// It was lost, or can't be made.
    pub(crate) fn is_down(&self) {
        self.set(At::Down);
    }

    fn set(&self, to: At) {
        let mut at = self.at.lock();
        let mut state = self.reach.0.lock();
        match *at {
            At::Unused => {}
            At::Working => state.working -= 1,
            At::Down => state.down -= 1,
        }
        match to {
            At::Unused => {}
            At::Working => {
                state.working += 1;
                state.unanswered = false;
            }
            At::Down => state.down += 1,
        }
        *at = to;
        state.settle();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.is_unused();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_away_when_no_connection_to_it_works() {
        let reach = Reach::new();
        let is = |database| assert_eq!(reach.database().0, database);
        let (one, two) = (reach.seat(), reach.seat());
        is(Reachability::Connected);
        one.works();
        two.works();
        two.works();
        is(Reachability::Connected);
        one.is_down();
        is(Reachability::Degraded);
        two.is_down();
        is(Reachability::Away);
        two.works();
        is(Reachability::Degraded);
        drop(one);
        is(Reachability::Connected);
        reach.asked(false);
        is(Reachability::Away);
        reach.asked(true);
        is(Reachability::Connected);
    }

    #[test]
    fn an_error_is_told_by_its_kind_and_the_code_of_the_database() {
        let reach = Reach::new();
        assert_eq!(reach.last_error(), None);
        reach.failed(&StoreError::unavailable("connect", "secret"));
        let last = reach.last_error().unwrap();
        assert_eq!((last.kind, last.sqlstate), ("unavailable", None));
        assert!(last.message.contains("connect") && !last.message.contains("secret"));
    }
}
