//! [`Ending`]: sessions that are no more, told to whoever has something that lives as long as they do.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};

use crate::{
    engine::caught,
    store::{OwnerText, SessionKey, Version},
};

/// A session ended, or may have.
///
/// Told at least once for each session that ends while these records watch the store: a second time is possible and
/// must do no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// A session is no more.
    Removed {
        /// Under which key it was.
        key: SessionKey,
        /// Its last version.
        version: Version,
        /// Whose it was, where that is known.
        user_id: Option<OwnerText>,
        /// Why.
        because: Because,
    },
    /// A session goes on under another key, because its id was changed, here or on another node. What belongs to it
    /// moves along.
    Rotated {
        /// Under which key it was.
        from: SessionKey,
        /// Under which it is.
        to: SessionKey,
    },
    /// A session (`None`: any) may have ended: a deletion failed half-way, or notices were lost. Look whether it is
    /// there.
    Unknown {
        /// Which.
        key: Option<SessionKey>,
    },
}

/// Why a session is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Because {
    /// It was deleted here.
    Deleted,
    /// Its time was over.
    Expired,
    /// It made room for another one of its user.
    Evicted,
    /// The store says so: another node did it.
    Elsewhere,
}

impl Because {
    /// A short stable word, for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Elsewhere => "elsewhere",
        }
    }
}

type Observer = Arc<dyn Fn(&Ending) + Send + Sync>;

/// Told of records that have changed, here or elsewhere.
type ChangeObserver = Arc<dyn Fn(&SessionKey, Version) + Send + Sync>;

/// Keys that are remembered as told. A notice of one's own change comes within moments; this is many seconds of
/// deletions.
const REMEMBERED: usize = 16_384;

#[derive(Default)]
pub(super) struct Endings {
    observers: RwLock<Vec<Observer>>,
    change_observers: RwLock<Vec<ChangeObserver>>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    keys: HashSet<SessionKey>,
    order: VecDeque<SessionKey>,
}

impl Endings {
    pub(super) fn observe(&self, observer: Observer) {
        self.observers.write().push(observer);
    }

    pub(super) fn observe_changes(&self, observer: ChangeObserver) {
        self.change_observers.write().push(observer);
    }

    pub(super) fn tell_changed(&self, key: &SessionKey, version: Version) {
        // A copy: a session that hears of it may run the user's code.
        let observers = self.change_observers.read().clone();
        for observer in observers {
            observer(key, version);
        }
    }

    /// Remembers that this ending is told, or about to be. `false`: it was already.
    pub(super) fn claim(&self, key: SessionKey) -> bool {
        let mut told = self.told.lock();
        if !told.keys.insert(key) {
            return false;
        }
        told.order.push_back(key);
        if told.order.len() > REMEMBERED
            && let Some(oldest) = told.order.pop_front()
        {
            told.keys.remove(&oldest);
        }
        true
    }

    /// There is a session under this key (again).
    pub(super) fn disclaim(&self, key: &SessionKey) {
        self.told.lock().keys.remove(key);
    }

    pub(super) fn tell(&self, ending: &Ending) {
        let observers = self.observers.read().clone();
        for observer in observers {
            // Somebody else's code: what it does wrong must not stop the others.
            if caught(|| observer(ending)).is_err() {
                tracing::error!(target: "session_process", "an observer of ended sessions panicked");
            }
        }
    }
}

impl fmt::Debug for Endings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endings")
            .field("observers", &self.observers.read().len())
            .finish_non_exhaustive()
    }
}
