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
//! 2. A batch is settled once, by the holder of the run right or the write that succeeded; [`Keep`] settles what is
//!    left when it is dropped. So nobody waits for good.
//! 3. `Keep::durable` is what the store holds, as far as this node knows. A failed write takes the process back to it.
//! 4. A write expects the version that this node knows. Where the record was changed by others, but not its snapshot
//!    (attributes, an owner), it is repeated on the newer version; where the snapshot was, another node runs this
//!    session too, and this process gives way.
//! 5. A write, a rotation and a deletion of one session exclude each other: [`Kept::place`].

use std::{
    any::type_name,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::{
    chain::Frame,
    guard::{drop_quietly, panic_text},
    life::Life,
    mailbox::Push,
    run::{self, Run, Turn},
    session::{AnySession, Core, Envelope, Failure, Leftover, Session},
};
use crate::{
    EndReason, LoadError, Process, SaveError, SessionId,
    clock::nanos,
    durability::{Durable, Pace, Schema},
    events::Event,
    records::SessionRecords,
    store::{Change, Conflict, Create, Edit, Expect, Lifetime, Op, Record, SessionKey, Snapshot, StoreError, Version},
};

/// How often a write is repeated because others change the record, but not the snapshot.
const ATTEMPTS: usize = 16;

/// How much later than now the store may hear of a use. Idle timeouts below a few of these are for tests.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// After a write-behind that failed: the first and the longest time until the next.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Where a durable session is kept.
pub(crate) struct Kept {
    pub(super) records: SessionRecords,
    pub(super) place: AsyncMutex<Place>,
    /// This engine itself is deleting it, or giving it another id.
    busy: AtomicBool,
}

/// Says so while it lives: a caller that goes away must not leave its session busy for good, as that hears of no end.
struct Busy<'a>(&'a AtomicBool);

impl<'a> Busy<'a> {
    fn new(busy: &'a AtomicBool) -> Self {
        busy.store(true, Ordering::Release);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

pub(super) struct Place {
    pub(super) key: SessionKey,
    pub(super) version: Version,
    /// The record is deleted: nothing is written any more.
    pub(super) gone: bool,
}

/// Changes that become durable together.
pub(crate) struct Batch {
    /// What the store said. Known before the batch is settled, if that takes the process back.
    written: OnceLock<Result<(), SaveError>>,
    outcome: OnceLock<Result<(), SaveError>>,
    told: Notify,
}

impl Batch {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            written: OnceLock::new(),
            outcome: OnceLock::new(),
            told: Notify::new(),
        })
    }

    fn settle(&self, outcome: Result<(), SaveError>) {
        let _ = self.outcome.set(outcome);
        self.told.notify_waiters();
    }

    /// Whether the change is durable.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn wait(&self) -> Result<(), SaveError> {
        self.known(&self.outcome).await
    }

    async fn known(&self, what: &OnceLock<Result<(), SaveError>>) -> Result<(), SaveError> {
        loop {
            let told = self.told.notified();
            if let Some(known) = what.get() {
                return known.clone();
            }
            told.await;
        }
    }
}

/// What the holder of the run right knows of the writes of its session.
#[derive(Default)]
pub(super) struct Keep {
    durable: Option<Snapshot>,
    open: Option<Arc<Batch>>,
    writing: Option<Writing>,
    /// A write-behind has set its alarm, or it has rung.
    alarm: Alarm,
    failures: u32,
    noted: u64,
}

#[derive(Default, PartialEq, Eq)]
enum Alarm {
    #[default]
    Off,
    Set,
    Rung,
}

struct Writing {
    batch: Arc<Batch>,
    snapshot: Snapshot,
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.settle_all(&Err(SaveError::Gone));
    }
}

impl Keep {
    /// What is not durable yet.
    fn newest(&self) -> Option<Arc<Batch>> {
        let writing = self.writing.as_ref().map(|writing| &writing.batch);
        self.open.as_ref().or(writing).cloned()
    }

    fn settle_all(&mut self, outcome: &Result<(), SaveError>) {
        let writing = self.writing.take().map(|writing| writing.batch);
        for batch in writing.into_iter().chain(self.open.take()) {
            batch.settle(outcome.clone());
        }
    }
}

impl Kept {
    pub(super) fn new(records: &SessionRecords, id: &SessionId) -> Arc<Self> {
        Arc::new(Self {
            records: records.clone(),
            place: AsyncMutex::new(Place {
                key: SessionKey::of(id),
                version: Version::default(),
                gone: false,
            }),
            busy: AtomicBool::new(false),
        })
    }

    /// Writes a snapshot where `before` was.
    async fn save(&self, snapshot: &Snapshot, before: Option<&Snapshot>) -> Result<(), SaveError> {
        let mut place = self.place.lock().await;
        for _ in 0..ATTEMPTS {
            if place.gone {
                return Err(SaveError::Gone);
            }
            let edit = Edit {
                snapshot: Some(Some(snapshot.clone())),
                ..Edit::default()
            };
            let outcome = self.commit(&place, Op::Edit(Box::new(edit))).await?;
            let (version, record) = match outcome {
                Ok(version) => {
                    place.version = version;
                    return Ok(());
                }
                Err(Conflict::Version { version, record }) => (version, record),
                Err(Conflict::Epoch { .. }) => return Err(SaveError::Conflict),
                Err(_) => {
                    place.gone = true;
                    return Err(SaveError::Gone);
                }
            };
            let record = match record {
                Some(record) if record.version == version => Some(*record),
                _ => self.records.record(place.key).await.map_err(SaveError::Store)?,
            };
            let Some(record) = record else {
                place.gone = true;
                return Err(SaveError::Gone);
            };
            if record.snapshot.as_ref() != before {
                return Err(SaveError::Conflict);
            }
            place.version = record.version;
        }
        Err(SaveError::Conflict)
    }

    async fn commit(&self, place: &Place, op: Op) -> Result<Result<Version, Conflict>, SaveError> {
        let change = Change {
            key: place.key,
            expect: Expect {
                version: Some(place.version),
                epoch: None,
            },
            op,
        };
        self.records.commit(change).await.map_err(SaveError::Store)
    }

    /// Removes the record. From then on nothing is written, and nothing can bring it back.
    pub(crate) async fn delete(&self) -> Result<(), StoreError> {
        let mut place = self.place.lock().await;
        if place.gone {
            return Ok(());
        }
        let change = Change {
            key: place.key,
            expect: Expect::default(),
            op: Op::Delete,
        };
        let busy = Busy::new(&self.busy);
        let outcome = self.records.commit(change).await;
        drop(busy);
        // `Missing`: it is gone already.
        let _ = outcome?;
        place.gone = true;
        Ok(())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// The record was moved by somebody else. False if that was this engine.
    pub(super) async fn follow(&self, from: SessionKey, to: SessionKey) -> bool {
        let mut place = self.place.lock().await;
        let moved = place.key == from;
        if moved {
            place.key = to;
        }
        moved
    }

    /// Moves the record to another id's key. `None`: another rotation was first, and it is not under `from` any more.
    pub(super) async fn rotate(
        &self,
        from: &SessionId,
        to: &SessionId,
    ) -> Result<Option<Result<(), Conflict>>, StoreError> {
        let mut place = self.place.lock().await;
        if place.key != SessionKey::of(from) {
            return Ok(None);
        }
        let to = SessionKey::of(to);
        let change = Change {
            key: place.key,
            expect: Expect::default(),
            op: Op::Rotate(to),
        };
        let busy = Busy::new(&self.busy);
        let outcome = self.records.commit(change).await;
        drop(busy);
        let moved = outcome?.map(|version| (place.key, place.version) = (to, version));
        Ok(Some(moved))
    }
}

fn durable<P: Process>() -> &'static Durable<P> {
    P::DURABILITY.0.as_ref().expect("only durable processes are kept")
}

fn write<P>(schema: &Schema<P>, process: &P) -> Result<Snapshot, SaveError> {
    let bytes = catch_unwind(AssertUnwindSafe(|| (schema.write)(process)));
    let bytes = bytes.map_err(|panic| SaveError::Schema(panic_text(panic)))?;
    let bytes = bytes.map_err(|error| SaveError::Schema(error.to_string()))?;
    Ok(Snapshot {
        kind: schema.kind.into(),
        schema: schema.version,
        bytes: bytes.into(),
    })
}

fn read<P>(schema: &Schema<P>, snapshot: &Snapshot) -> Result<P, LoadError> {
    if *snapshot.kind != *schema.kind {
        return Err(LoadError::Kind {
            expected: schema.kind,
            found: snapshot.kind.to_string(),
        });
    }
    let state = catch_unwind(AssertUnwindSafe(|| match snapshot.schema {
        version if version == schema.version => (schema.read)(&snapshot.bytes),
        version => (schema.upgrade)(version, &snapshot.bytes),
    }));
    let unreadable = |error: String| LoadError::Unreadable {
        kind: snapshot.kind.to_string(),
        version: snapshot.schema,
        error,
    };
    let state = state.map_err(|panic| unreadable(panic_text(panic)))?;
    state.map_err(|error| unreadable(error.to_string()))
}

/// Brings a process back from its record, if that has its state. Only for the holder of the run right.
pub(super) async fn load<P: Process>(session: &Session<P>, keep: &mut Keep) -> Result<Option<P>, LoadError> {
    let Some(kept) = &session.kept else { return Ok(None) };
    let mut place = kept.place.lock().await;
    let Some(record) = kept.records.record(place.key).await.map_err(LoadError::Store)? else {
        return Ok(None);
    };
    place.version = record.version;
    resume(&session.life, session.engine.now(), kept.records.now(), &record);
    let Some(snapshot) = record.snapshot else {
        return Ok(None);
    };
    let process = read(&durable::<P>().schema, &snapshot)?;
    keep.durable = Some(snapshot);
    Ok(Some(process))
}

/// The clocks of a session that comes back go on where its record says.
fn resume(life: &Life, now: u64, store_now: crate::Timestamp, record: &Record) {
    let before = |at: crate::Timestamp| now.saturating_sub(nanos(store_now.saturating_since(at)));
    let left = record
        .lifetime
        .expires_at
        .map(|at| now.saturating_add(nanos(at.saturating_since(store_now))));
    life.resume(
        before(record.created_at),
        before(record.accessed_at),
        record.lifetime.idle_timeout,
        left,
    );
}

/// Saves the first state of a process that has just begun: a new record, or its place in one that is there.
pub(super) async fn save_first<P: Process>(
    session: &Session<P>,
    process: &mut P,
    keep: &mut Keep,
) -> Result<(), LoadError> {
    let Some(kept) = &session.kept else { return Ok(()) };
    let snapshot = write(&durable::<P>().schema, process).map_err(LoadError::Save)?;
    let is_new = kept.place.lock().await.version == Version::default();
    if is_new {
        let mut place = kept.place.lock().await;
        if place.gone {
            // Ended while it started.
            return Err(LoadError::Save(SaveError::Gone));
        }
        let now = kept.records.now();
        let (idle_timeout, rest) = session.life.limits(session.engine.now());
        let create = Create {
            lifetime: Lifetime {
                expires_at: rest.map(|rest| now.saturating_add(rest)),
                idle_timeout,
            },
            snapshot: Some(snapshot.clone()),
            ..Create::default()
        };
        match kept
            .commit(&place, Op::Create(Box::new(create)))
            .await
            .map_err(LoadError::Save)?
        {
            Ok(version) => place.version = version,
            // Another node was quicker, within this moment.
            Err(_) => return Err(LoadError::Save(SaveError::Conflict)),
        }
    } else {
        kept.save(&snapshot, None).await.map_err(LoadError::Save)?;
    }
    keep.durable = Some(snapshot);
    Ok(())
}

/// After a handler. The batch that its reply has to wait for, if any.
#[inline]
pub(super) fn handled<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>) -> Option<Arc<Batch>> {
    // A volatile type pays nothing: this is known when it is compiled.
    let Durable { pace, .. } = P::DURABILITY.0.as_ref()?;
    let changed = !core.cx.take_unchanged();
    session.kept.as_ref()?;
    let keep = core.keep.as_deref_mut()?;
    note_use(session, keep);
    if core.cx.stops() {
        // Its record is to go, and who has the reply relies on that.
        return Some(Arc::clone(keep.open.get_or_insert_with(Batch::new)));
    }
    if !changed {
        // It has read what others have changed, perhaps just now.
        return keep.newest().filter(|_| *pace == Pace::Through);
    }
    let batch = Arc::clone(keep.open.get_or_insert_with(Batch::new));
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

/// What has been handled and is not durable yet. Only for the holder of the run right.
pub(super) fn pending<P: Process>(core: &Core<P>) -> Option<Arc<Batch>> {
    core.keep.as_deref()?.newest()
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
            send(session, Settle { rings: true });
        }
    });
}

/// Whether the store has all changes. If not, a write of them is under way from now on.
pub(super) fn is_saved<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>) -> bool {
    begin(session, core);
    let keep = core.keep.as_deref();
    keep.is_none_or(|keep| keep.open.is_none() && keep.writing.is_none())
}

/// Begins a write, if something has changed and none is under way.
fn begin<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>) {
    let (Some(keep), Some(process), Some(kept)) = (core.keep.as_deref_mut(), core.process.as_mut(), &session.kept)
    else {
        return;
    };
    if keep.writing.is_some() {
        return;
    }
    let Some(batch) = keep.open.take() else { return };
    let snapshot = write(&durable::<P>().schema, process);
    if snapshot
        .as_ref()
        .ok()
        .is_some_and(|snapshot| keep.durable.as_ref() == Some(snapshot))
    {
        // Nothing has changed after all.
        return batch.settle(Ok(()));
    }
    let taken = snapshot.and_then(|snapshot| {
        let taken = catch_unwind(AssertUnwindSafe(|| process.snapshot_taken()));
        taken.map_err(|panic| SaveError::Schema(panic_text(panic)))?;
        Ok(snapshot)
    });
    let snapshot = match taken {
        Ok(snapshot) => snapshot,
        Err(error) => {
            // As a write that failed: the task tells, since the way back may have to wait.
            let _ = batch.written.set(Err(error));
            keep.writing = Some(Writing {
                batch,
                snapshot: Snapshot {
                    kind: "".into(),
                    schema: 0,
                    bytes: Arc::from([]),
                },
            });
            // We hold the run right, and come to it next.
            send(Arc::clone(session), Settle { rings: false });
            return;
        }
    };
    keep.writing = Some(Writing {
        batch: Arc::clone(&batch),
        snapshot: snapshot.clone(),
    });
    let (kept, before) = (Arc::clone(kept), keep.durable.clone());
    let session = Arc::clone(session);
    let runtime = session.engine.runtime.clone();
    runtime.spawn(async move {
        let asked = session.engine.events.listened().then(Instant::now);
        let written = kept.save(&snapshot, before.as_ref()).await;
        match &written {
            Ok(()) => session.engine.events.emit(|| Event::Saved {
                session: AnySession::id(&*session).public_handle(),
                process: type_name::<P>(),
                took: asked.map_or(Duration::ZERO, |asked| asked.elapsed()),
            }),
            Err(error) => session.engine.events.emit(|| Event::SaveFailed {
                session: AnySession::id(&*session).public_handle(),
                process: type_name::<P>(),
                error: error.kind(),
            }),
        }
        let saved = written.is_ok();
        let _ = batch.written.set(written);
        if saved {
            batch.settle(Ok(()));
        } else {
            batch.told.notify_waiters();
        }
        send(session, Settle { rings: false });
    });
}

/// Tells a session that a write is done, or that it is time for one.
struct Settle {
    rings: bool,
}

fn send<P: Process>(session: Arc<Session<P>>, settle: Settle) {
    match session
        .mailbox
        .push(Arc::new(settle) as Arc<dyn Envelope<P>>, usize::MAX)
    {
        // Not in this task, which `kill` knows nothing of: behind this may come a handler that hangs.
        Push::Begin => run::spawn_drain(Turn::new(session)),
        // Closed: whoever ends the session sees to what is left.
        Push::Queued | Push::Full(_) | Push::Closed(_) => {}
    }
}

impl<P: Process> Envelope<P> for Settle {
    fn open(self: Arc<Self>, session: Arc<Session<P>>) -> Option<Run> {
        Some(Box::pin(async move { settle(&session, self.rings).await }))
    }

    fn refuse(&self, _: Failure) {}

    fn frame(&self) -> Option<Arc<Frame>> {
        None
    }
}

async fn settle<P: Process>(session: &Arc<Session<P>>, rings: bool) {
    let mut core = session.core.borrow_mut();
    let core = core.get_mut();
    let Some(keep) = core.keep.as_deref_mut() else { return };
    if rings {
        keep.alarm = Alarm::Rung;
    }
    let done = keep
        .writing
        .take_if(|writing| writing.batch.written.get().is_some())
        .map(|Writing { batch, snapshot }| (batch.written.get().cloned().unwrap_or(Ok(())), batch, snapshot));
    let pace = durable::<P>().pace;
    match done {
        None => {}
        Some((Ok(()), _, snapshot)) => {
            keep.durable = Some(snapshot);
            keep.failures = 0;
            if let Some(process) = &mut core.process {
                process.snapshot_durable();
            }
        }
        Some((Err(error @ (SaveError::Store(_) | SaveError::Schema(_))), batch, _)) if pace != Pace::Through => {
            // Nobody waits for it, and the state in memory is the newest there is: later, again.
            // In a batch of its own: this one has its outcome, and would tell it of the next write too.
            keep.open.get_or_insert_with(Batch::new);
            batch.settle(Err(error));
            let (first, longest) = RETRY;
            let wait = first.saturating_mul(1 << keep.failures.min(10)).min(longest);
            keep.failures += 1;
            set_alarm(session, keep, wait);
        }
        Some((Err(error), batch, _)) => fall_back(session, core, error, batch).await,
    }
    let Some(keep) = core.keep.as_deref_mut() else { return };
    let due = pace == Pace::Through || keep.alarm == Alarm::Rung;
    if due && keep.writing.is_none() {
        keep.alarm = Alarm::Off;
        begin(session, core);
    }
}

/// A write has failed: back to the last durable state, and whoever waits for a later one is told.
async fn fall_back<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>, error: SaveError, batch: Arc<Batch>) {
    let (Some(keep), Some(kept)) = (core.keep.as_deref_mut(), &session.kept) else {
        return batch.settle(Err(error));
    };
    if matches!(error, SaveError::Conflict) {
        let mut place = kept.place.lock().await;
        match kept.records.record(place.key).await {
            Ok(Some(record)) => {
                place.version = record.version;
                keep.durable = record.snapshot;
            }
            Ok(None) => place.gone = true,
            // The next write conflicts again, and looks again.
            Err(_) => {}
        }
    }
    let gone = matches!(error, SaveError::Gone) || kept.place.lock().await.gone;
    let back = match &keep.durable {
        Some(snapshot) if !gone => read(&durable::<P>().schema, snapshot).ok(),
        _ => None,
    };
    match back {
        Some(state) => {
            let before = core.process.replace(state);
            let _ = drop_quietly(before);
        }
        None => {
            let reason = if gone {
                EndReason::Terminated
            } else {
                EndReason::Crashed
            };
            session.close(reason, Leftover::Refuse);
        }
    }
    keep.settle_all(&Err(error.clone()));
    batch.settle(Err(error));
}

/// After a panic: the process as it was last durable; `None` where there is no such state.
pub(super) async fn recover<P: Process>(session: &Session<P>, keep: Option<&mut Keep>) -> Option<P> {
    let (keep, kept) = (keep?, session.kept.as_ref()?);
    // What is on its way was changed by messages before the one that panicked.
    if let Some(Writing { batch, snapshot }) = keep.writing.take() {
        match batch.known(&batch.written).await {
            Ok(()) => keep.durable = Some(snapshot),
            Err(error) => batch.settle(Err(error)),
        }
    }
    keep.settle_all(&Err(SaveError::Crashed));
    keep.alarm = Alarm::Off;
    if kept.place.lock().await.gone {
        return None;
    }
    read(&durable::<P>().schema, keep.durable.as_ref()?).ok()
}

/// The end of a session: its record goes, or gets its last state.
pub(super) async fn end<P: Process>(
    session: &Session<P>,
    process: Option<&mut P>,
    keep: Option<&mut Keep>,
    reason: EndReason,
) {
    let (Some(keep), Some(kept)) = (keep, session.kept.as_ref()) else {
        return;
    };
    let failed = |error: &SaveError| {
        session.engine.events.emit(|| Event::SaveFailed {
            session: AnySession::id(session).public_handle(),
            process: type_name::<P>(),
            error: error.kind(),
        });
    };
    if !reason.keeps_record() {
        let outcome = kept.delete().await.map_err(SaveError::Store);
        if let Err(error) = &outcome {
            failed(error);
        }
        // Its changes went with it, as somebody wanted: no reply is wrong.
        return keep.settle_all(&outcome);
    }
    if let Some(Writing { batch, snapshot }) = keep.writing.take() {
        match batch.known(&batch.written).await {
            Ok(()) => keep.durable = Some(snapshot),
            Err(error) if durable::<P>().pace == Pace::Through => batch.settle(Err(error)),
            Err(_) => {
                keep.open.get_or_insert(batch);
            }
        }
    }
    // After a crash the state is as the panic left it: not to be kept.
    let Some(process) = process.filter(|_| reason != EndReason::Crashed) else {
        return keep.settle_all(&Err(SaveError::Crashed));
    };
    // Also what a terminate hook has changed.
    let batch = keep.open.take();
    let outcome = match write(&durable::<P>().schema, process) {
        Ok(snapshot) if keep.durable.as_ref() == Some(&snapshot) => Ok(()),
        Ok(snapshot) => kept.save(&snapshot, keep.durable.as_ref()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        failed(error);
    }
    if let Some(batch) = batch {
        batch.settle(outcome);
    }
}
