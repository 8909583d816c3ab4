//! [`GuessLimit`]: how many made-up ids one source may present.
//!
//! # Invariants
//! 1. One id counts once, however often it comes: a browser that keeps sending the cookie of a session that has ended
//!    is not guessing.
//! 2. At most so many sources are remembered as were asked for; the least seen give way.
//! 3. No id is kept, and no value of a cookie: 32 bits of a keyed hash of each.
//! 4. Who is held off can still use a session that is in memory, and start without a cookie: those who share an address
//!    with somebody who guesses are not locked out. What it can't is make the store look ids up.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::request::Parts;
use quick_cache::sync::Cache;

/// How many ids without a session one source may present within some time. Who presents more is answered 429, and
/// [`Event::Guessing`](session_process::Event::Guessing) says so once.
///
/// Sources are addresses, by default those of axum's `ConnectInfo<SocketAddr>` (feature `connect-info`, on by default):
/// serve with `into_make_service_with_connect_info::<SocketAddr>()`. Of an IPv6 address the first 64 bits count, since
/// whoever has one has them all. **Behind a proxy every peer is the proxy**: say how to tell requests apart with
/// [`by`](Self::by).
///
/// ```
/// use std::{num::NonZeroU32, time::Duration};
/// use session_process_axum::GuessLimit;
///
/// # fn f(layer: session_process_axum::SessionLayer) {
/// let twenty = NonZeroU32::new(20).expect("not zero");
/// let limit = GuessLimit::new(twenty, Duration::from_secs(60))
///     // As far as your own proxy writes this header, and nobody else can:
///     .by(|parts| Some(parts.headers.get("x-real-ip")?.to_str().ok()?.to_owned()));
/// let layer = layer.with_guess_limit(limit);
/// # }
/// ```
#[derive(Clone)]
#[must_use = "for `SessionLayer::with_guess_limit`"]
pub struct GuessLimit {
    ids: NonZeroU32,
    within: Duration,
    sources: usize,
    /// `None`: the peer's address.
    source: Option<Arc<SourceOf>>,
}

type SourceOf = dyn Fn(&Parts) -> Option<String> + Send + Sync;

impl GuessLimit {
    /// So many different ids without a session are nothing to speak of, within so much time.
    pub fn new(ids: NonZeroU32, within: Duration) -> Self {
        Self {
            ids,
            within,
            sources: 10_000,
            source: None,
        }
    }

    /// What requests are told apart by. `None`: nothing is counted for this request.
    pub fn by(mut self, source: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// How many sources are remembered at a time. Default: 10,000, which take some 2 MB.
    pub fn remember(mut self, sources: usize) -> Self {
        self.sources = sources;
        self
    }
}

impl fmt::Debug for GuessLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuessLimit")
            .field("ids", &self.ids)
            .field("within", &self.within)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// Who has presented what lately.
pub(crate) struct Guesses {
    limit: GuessLimit,
    suspects: Cache<String, Arc<Mutex<Suspect>>>,
    hasher: RandomState,
    /// There was no address, and nothing else is asked for.
    warned: AtomicBool,
}

/// What one source has presented since the first of it.
struct Suspect {
    since: Duration,
    /// Parts of hashes, each different.
    ids: Vec<u32>,
}

/// What a bad id comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Tolerated,
    /// One too many, for the first time: so many.
    Caught(u32, Duration),
    /// Still too many. Until then nothing is looked up.
    HeldOff(Duration),
}

impl Guesses {
    pub(crate) fn new(limit: GuessLimit) -> Self {
        Self {
            suspects: Cache::new(limit.sources.max(1)),
            hasher: RandomState::new(),
            warned: AtomicBool::new(false),
            limit,
        }
    }

    pub(crate) fn source_of(&self, parts: &Parts) -> Option<Box<str>> {
        let source = match &self.limit.source {
            Some(source) => source(parts),
            None => {
                let peer = crate::address::peer(parts);
                if peer.is_none() && !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "session ids that are guessed are not counted: there is no `ConnectInfo<SocketAddr>`; serve with \
                         `into_make_service_with_connect_info`, or say `GuessLimit::by`"
                    );
                }
                peer
            }
        };
        source.map(String::into_boxed_str)
    }

    /// Stands for a value without telling it.
    pub(crate) fn mark(&self, value: &[u8]) -> u32 {
        self.hasher.hash_one(value) as u32
    }

    /// How long this source is still held off, if it is.
    pub(crate) fn held_off(&self, source: &str, now: Duration) -> Option<Duration> {
        let suspect = self.suspects.get(source)?;
        let suspect = suspect.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = self.rest(&suspect, now)?;
        (suspect.ids.len() > self.max()).then_some(rest)
    }

    /// A source has presented an id without a session.
    pub(crate) fn note(&self, source: &str, mark: u32, now: Duration) -> Verdict {
        let new = || -> Result<_, std::convert::Infallible> {
            let (since, ids) = (now, Vec::new());
            Ok(Arc::new(Mutex::new(Suspect { since, ids })))
        };
        let Ok(suspect) = self.suspects.get_or_insert_with(source, new);
        let mut suspect = suspect.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = match self.rest(&suspect, now) {
            Some(rest) => rest,
            None => {
                (suspect.since, suspect.ids) = (now, Vec::new());
                self.limit.within
            }
        };
        let caught_before = suspect.ids.len() > self.max();
        // Once it is caught, there is nothing more to count.
        if !caught_before && !suspect.ids.contains(&mark) {
            suspect.ids.push(mark);
        }
        match suspect.ids.len() {
            _ if caught_before => Verdict::HeldOff(rest),
            ids if ids > self.max() => Verdict::Caught(ids as u32, rest),
            _ => Verdict::Tolerated,
        }
    }

    fn max(&self) -> usize {
        self.limit.ids.get() as usize
    }

    /// How much is left of the time in which a source's ids are counted together; `None`: it is over.
    fn rest(&self, suspect: &Suspect, now: Duration) -> Option<Duration> {
        let passed = now.saturating_sub(suspect.since);
        self.limit.within.checked_sub(passed).filter(|rest| !rest.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn three() -> Guesses {
        Guesses::new(GuessLimit::new(NonZeroU32::new(3).unwrap(), MINUTE).remember(100))
    }

    #[test]
    fn different_ids_count_and_one_id_counts_once() {
        let guesses = three();
        for mark in [1, 2, 3, 3, 3, 1] {
            assert_eq!(guesses.note("a", mark, Duration::ZERO), Verdict::Tolerated);
        }
        assert_eq!(guesses.held_off("a", Duration::ZERO), None);
        assert_eq!(guesses.note("a", 4, MINUTE / 2), Verdict::Caught(4, MINUTE / 2));
        assert_eq!(guesses.note("a", 5, MINUTE / 2), Verdict::HeldOff(MINUTE / 2));
        assert_eq!(guesses.held_off("a", MINUTE / 2), Some(MINUTE / 2));
        assert_eq!(guesses.held_off("b", MINUTE / 2), None);
    }

    #[test]
    fn after_its_time_a_source_begins_anew() {
        let guesses = three();
        for mark in 1..=4 {
            guesses.note("a", mark, Duration::ZERO);
        }
        assert_eq!(guesses.held_off("a", MINUTE), None);
        assert_eq!(guesses.note("a", 5, MINUTE), Verdict::Tolerated);
    }

    #[test]
    fn a_flood_of_sources_and_ids_takes_no_more_memory() {
        let guesses = three();
        for mark in 0..10_000 {
            guesses.note(&mark.to_string(), mark, Duration::ZERO);
            guesses.note("busy", mark, Duration::ZERO);
        }
        assert!(guesses.suspects.len() <= 100);
        if let Some(busy) = guesses.suspects.get("busy") {
            assert!(busy.lock().unwrap().ids.len() <= 4);
        }
    }
}
