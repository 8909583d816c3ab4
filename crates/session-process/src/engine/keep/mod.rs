//! Durable processes: their state in the store, and replies that wait for it.
//!
//! # How a change becomes durable
//! A handler that has changed the state leaves its change in the open [`Batch`]. If no write is under way, the state is
//! written down at once (by the holder of the run right, so it is no half state), and a task commits it. What changes
//! meanwhile gathers in the next batch. When the commit is done, the task sends the session a [`Settle`], which begins
//! the next write. So a session has one write under way at most, and any number of changes share it.
//!
//! # Invariants
//! 1. A reply of a write-through process is given to its caller after its batch is settled: [`Batch::wait`].
//! 2. A batch is settled once, by the holder of the run right or the write that succeeded; if that is cut off, when its
//!    [`Owed`] is dropped. So nobody waits for good.
//! 3. `Keep::known` is what the store holds, as far as this node knows. A failed write-through takes the process back to
//!    what the store says it holds; if it doesn't say, the process ends and comes back from it.
//! 4. A write expects the version that this node knows. Where the record was changed by others, but not its snapshot
//!    (attributes, an owner), it is repeated on the newer version; where the snapshot was, another node runs this
//!    session too, and this process gives way.
//!    Where it had nothing to write, it takes over what that node left: [`elsewhere`]. Who is told while there is something
//!    to write looks when that is settled: what was no change after all meets no conflict. (Nor is it compared: a change
//!    that leaves the state as this node knows it is acknowledged as it stands.)
//! 5. A write, a rotation and a deletion of one session exclude each other: [`Kept::place`].

mod batch;
mod elsewhere;
mod end;
mod kept;
mod load;
mod snapshot;
mod write;

use std::{sync::Arc, time::Duration};

pub(crate) use self::{batch::Batch, kept::Kept};
use self::{
    batch::Owed,
    write::{Settle, begin, is_open, send},
};
pub(super) use self::{
    elsewhere::{heard, remind, take_over},
    end::{end, is_used_elsewhere, recover},
    kept::why_absent,
    load::{load, save_first},
    write::is_saved,
};
use super::session::{AnySession, Beside, Core, Session};
use crate::{
    Process, SaveError,
    back_off::BackOff,
    clock::nanos,
    durability::{Durable, Pace},
    store::{SessionKey, Snapshot},
};

/// How much later than now the store may hear of a use. Idle timeouts below a few of these are for tests.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// What the holder of the run right knows of the writes of its session.
#[derive(Default)]
pub(super) struct Keep {
    known: Known,
    open: Option<Owed>,
    writing: Option<Writing>,
    /// A write-behind has set its alarm, or it has rung.
    alarm: Alarm,
    failures: u32,
    noted: u64,
}

/// What the store may hold, as far as this node knows.
#[derive(Default, Clone)]
struct Known {
    /// What it holds, unless it has one of those below.
    durable: Option<Snapshot>,
    /// Written behind by us, and it is open whether they took effect: newest last. (None of a write-through process:
    /// another node's write of the same bytes would pass for one of ours.)
    open: Vec<Snapshot>,
}

impl Known {
    /// More writes in a row whose outcome is open are hours of trouble: then the oldest is forgotten, and if it is that
    /// which the store has, that is a conflict.
    const MOST: usize = 16;

    fn is_durable(&mut self, snapshot: Snapshot) {
        self.durable = Some(snapshot);
        self.open = Vec::new();
    }

    /// A write of this has failed. It may have taken effect all the same, and what this node has tried to write and another
    /// has written may be the same bytes: where somebody waits to hear that it was their change, that would not be true.
    fn has_failed(&mut self, snapshot: Snapshot, error: &SaveError, pace: Pace) {
        if pace == Pace::Through || !is_open(error) {
            return;
        }
        if self.open.len() == Self::MOST {
            self.open.remove(0);
        }
        self.open.push(snapshot);
    }

    /// It holds this, for certain.
    fn is(&self, snapshot: &Snapshot) -> bool {
        self.open.is_empty() && self.durable.as_ref() == Some(snapshot)
    }

    /// Nobody else has changed the snapshot that was found.
    fn explains(&self, found: Option<&Snapshot>) -> bool {
        found == self.durable.as_ref() || found.is_some_and(|found| self.open.contains(found))
    }
}

#[derive(Default, PartialEq, Eq)]
enum Alarm {
    #[default]
    Off,
    Set,
    Rung,
}

struct Writing {
    batch: Owed,
    snapshot: Snapshot,
}

impl Keep {
    /// What is not durable yet.
    fn newest(&self) -> Option<Arc<Batch>> {
        let writing = self.writing.as_ref().map(|writing| &writing.batch);
        self.open.as_ref().or(writing).map(Owed::batch)
    }

    fn settle_all(&mut self, outcome: &Result<(), SaveError>) {
        let writing = self.writing.take().map(|writing| writing.batch);
        for batch in writing.into_iter().chain(self.open.take()) {
            batch.settle(outcome.clone());
        }
    }
}

/// After a write that failed, until the next one is tried.
const RETRY: BackOff = BackOff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(30),
};

fn durable<P: Process>() -> &'static Durable<P> {
    P::DURABILITY.0.as_ref().expect("only durable processes are kept")
}

/// After a handler. The batch that its reply has to wait for, if any.
#[inline]
pub(super) fn handled<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>) -> Option<Arc<Batch>> {
    // A volatile type pays nothing: this is known when it is compiled.
    let Durable { pace, .. } = P::DURABILITY.0.as_ref()?;
    let changed = !core.cx.take_unchanged();
    session.kept.as_ref()?;
    let keep = Beside::keep(&mut core.beside)?;
    note_use(session, keep);
    if core.cx.stops() {
        // Its record is to go, and who has the reply relies on that.
        return Some(keep.open.get_or_insert_with(Owed::new).batch());
    }
    if !changed {
        // It has read what others have changed, perhaps just now.
        return keep.newest().filter(|_| *pace == Pace::Through);
    }
    let batch = keep.open.get_or_insert_with(Owed::new).batch();
    match pace {
        Pace::Through => {
            begin(session, core);
            Some(batch)
        }
        Pace::Behind(within) => {
            if keep.alarm == Alarm::Off {
                set_alarm(session, keep, *within);
            }
            None
        }
    }
}

/// What has been handled and a reply has to wait for. Only for the holder of the run right.
pub(super) fn pending<P: Process>(core: &Core<P>) -> Option<Arc<Batch>> {
    let Durable { pace, .. } = P::DURABILITY.0.as_ref()?;
    unsaved(core).filter(|_| *pace == Pace::Through)
}

/// What the store hasn't yet.
pub(super) fn unsaved<P: Process>(core: &Core<P>) -> Option<Arc<Batch>> {
    core.beside.as_deref()?.keep.as_ref()?.newest()
}

fn note_use<P: Process>(session: &Session<P>, keep: &mut Keep) {
    let now = session.engine.now();
    if now.saturating_sub(keep.noted) < nanos(NOTE_EVERY) {
        return;
    }
    keep.noted = now;
    if let Some(kept) = &session.kept {
        kept.records.note_use(SessionKey::of(&AnySession::id(session)));
    }
}

fn set_alarm<P: Process>(session: &Arc<Session<P>>, keep: &mut Keep, after: Duration) {
    keep.alarm = Alarm::Set;
    let clock = session.engine.clock.clone();
    let at = clock.now().saturating_add(nanos(after));
    let session = Arc::downgrade(session);
    let runtime = session.upgrade().map(|session| session.engine.runtime.clone());
    let Some(runtime) = runtime else { return };
    runtime.spawn(async move {
        clock.sleep_until(at).await;
        if let Some(session) = session.upgrade() {
            send(&session, Settle { rings: true });
        }
    });
}
