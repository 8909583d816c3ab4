//! Writes: begun by the holder of the run right, committed by a task, settled by a message.

use std::{
    any::type_name,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Alarm, Owed, RETRY, Writing, durable,
    elsewhere::{look_if_wanted, remind},
    kept::By,
    set_alarm, snapshot,
};
use crate::{
    EndReason, Process, SaveError,
    durability::Pace,
    engine::{
        guard::{caught, drop_quietly, panic_text, poll_caught},
        run::Run,
        session::{AnySession, Beside, Core, Envelope, Failure, Leftover, Session},
    },
    events::Event,
    store::{Snapshot, StoreError},
};

/// Whether the store has all changes. If not, a write of them is under way from now on.
pub(in crate::engine) fn is_saved<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>) -> bool {
    begin(session, core);
    let keep = Beside::keep(&mut core.beside);
    keep.is_none_or(|keep| keep.open.is_none() && keep.writing.is_none())
}

/// Begins a write, if something has changed and none is under way.
pub(super) fn begin<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>) {
    let (Some((keep, observers)), Some(process), Some(kept)) =
        (Beside::both(&mut core.beside), &mut core.process, &session.kept)
    else {
        return;
    };
    if keep.writing.is_some() {
        return;
    }
    let Some(batch) = keep.open.take() else { return };
    let snapshot = snapshot::write(&durable::<P>().schema, process);
    if snapshot.as_ref().ok().is_some_and(|snapshot| keep.known.is(snapshot)) {
        // Nothing has changed after all; but perhaps in what is not written down.
        observers.tell(process);
        batch.settle(Ok(()));
        return remind(session);
    }
    let taken = snapshot.and_then(|snapshot| {
        caught(|| process.snapshot_taken()).map_err(SaveError::Schema)?;
        Ok(snapshot)
    });
    if let (Ok(_), Pace::Through) = (&taken, durable::<P>().pace) {
        observers.stage(process);
    }
    let snapshot = match taken {
        Ok(snapshot) => snapshot,
        Err(error) => {
            // As a write that failed: the task tells, since the way back may have to wait.
            batch.store_said(Err(error));
            keep.writing = Some(Writing {
                batch,
                snapshot: Snapshot {
                    kind: "".into(),
                    schema: 0,
                    bytes: Arc::from([]),
                },
            });
            // We hold the run right, and come to it next.
            send(session, Settle { rings: false });
            return;
        }
    };
    let writing = keep.writing.insert(Writing {
        batch,
        snapshot: snapshot.clone(),
    });
    let batch = writing.batch.batch();
    let (kept, known) = (Arc::clone(kept), keep.known.clone());
    let session = Arc::clone(session);
    let runtime = session.engine.runtime.clone();
    kept.writes();
    runtime.spawn(async move {
        let asked = session.engine.events.listened().then(Instant::now);
        // A store that panics must not take those along who wait for this write, nor those who wait for the next one.
        let written = {
            let mut save = pin!(kept.save(&snapshot, &known, By::Task));
            let written = poll_fn(|task| poll_caught(save.as_mut(), task)).await;
            let panicked = |panic| Err(SaveError::Store(StoreError::unavailable("commit", panic_text(panic))));
            written.unwrap_or_else(panicked)
        };
        batch.store_said(written.clone());
        // Nor a listener that does.
        let _ = caught(|| match &written {
            Ok(()) => session.engine.events.emit(|| Event::Saved {
                session: AnySession::id(&*session).public_handle(),
                process: type_name::<P>(),
                took: asked.map_or(Duration::ZERO, |asked| asked.elapsed()),
            }),
            Err(error) => tell_failed(&session, error),
        });
        // Another task for this would cost as much as half of all the rest here.
        session.post_here(Arc::new(Settle { rings: false }));
    });
}

/// Tells those who listen that a write has failed.
pub(super) fn tell_failed<P: Process>(session: &Session<P>, error: &SaveError) {
    session.engine.events.emit(|| Event::SaveFailed {
        session: AnySession::id(session).public_handle(),
        process: type_name::<P>(),
        error: error.kind(),
    });
}

/// Tells a session that a write is done, or that it is time for one.
pub(super) struct Settle {
    pub(super) rings: bool,
}

pub(super) fn send<P: Process>(session: &Arc<Session<P>>, settle: Settle) {
    // If it is closed, whoever ends the session sees to what is left.
    session.post(Arc::new(settle));
}

impl<P: Process> Envelope<P> for Settle {
    fn open(self: Arc<Self>, session: Arc<Session<P>>) -> Option<Run> {
        Some(Box::pin(async move { settle(&session, self.rings).await }))
    }

    fn refuse(&self, _: Failure) {}
}

async fn settle<P: Process>(session: &Arc<Session<P>>, rings: bool) {
    let mut core = session.core.borrow_mut();
    let core = core.get_mut();
    let Some((keep, observers)) = Beside::both(&mut core.beside) else {
        return;
    };
    if rings {
        keep.alarm = Alarm::Rung;
    } else if let Some(kept) = &session.kept {
        kept.write_is_over();
    }
    let done = keep
        .writing
        .take_if(|writing| writing.batch.written.get().is_some())
        .map(|Writing { batch, snapshot }| (batch.written.get().cloned().unwrap_or(Ok(())), batch, snapshot));
    let pace = durable::<P>().pace;
    match done {
        None => {}
        Some((Ok(()), _, snapshot)) => {
            keep.known.is_durable(snapshot);
            keep.failures = 0;
            if let Some(process) = &mut core.process {
                process.snapshot_durable();
                observers.publish();
                if keep.open.is_none() {
                    observers.tell_fresh(process);
                }
            }
        }
        Some((Err(error @ (SaveError::Store(_) | SaveError::Schema(_))), batch, snapshot)) if pace != Pace::Through => {
            keep.known.has_failed(snapshot, &error, pace);
            // Nobody waits for it, and the state in memory is the newest there is: later, again.
            // In a batch of its own: this one has its outcome, and would tell it of the next write too.
            keep.open.get_or_insert_with(Owed::new);
            batch.settle(Err(error));
            let wait = RETRY.wait(keep.failures);
            keep.failures += 1;
            set_alarm(session, keep, wait);
        }
        Some((Err(error), batch, _)) => fall_back(session, core, error, batch).await,
    }
    let Some(keep) = Beside::keep(&mut core.beside) else {
        return;
    };
    let due = pace == Pace::Through || keep.alarm == Alarm::Rung;
    if due && keep.writing.is_none() {
        keep.alarm = Alarm::Off;
        begin(session, core);
    }
    // Before the next message, which would be handled by what may be old.
    look_if_wanted(session, core).await;
}

/// Whether a write may have taken effect all the same.
pub(super) fn is_open(error: &SaveError) -> bool {
    matches!(error, SaveError::Store(error) if error.is_transient())
}

/// A write has failed: back to the last durable state, and whoever waits for a later one is told.
async fn fall_back<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>, error: SaveError, batch: Owed) {
    let (Some((keep, observers)), Some(kept)) = (Beside::both(&mut core.beside), &session.kept) else {
        return batch.settle(Err(error));
    };
    let mut is_known = true;
    if matches!(error, SaveError::Conflict) || is_open(&error) {
        let mut place = kept.place.lock().await;
        // What comes of it is what a look would find.
        kept.take_look();
        match kept.records.record(place.key).await {
            Ok(Some(record)) => {
                place.version = record.version;
                kept.began(record.first_key);
                keep.known.durable = record.snapshot;
            }
            Ok(None) => place.gone = true,
            Err(_) => is_known = false,
        }
    }
    let gone = matches!(error, SaveError::Gone) || kept.place.lock().await.gone;
    let why_gone = if gone { Some(kept.why_absent().await) } else { None };
    let back = match &keep.known.durable {
        Some(snapshot) if !gone && is_known => snapshot::read(&durable::<P>().schema, snapshot).ok(),
        _ => None,
    };
    match back {
        Some(state) => {
            let state: &P = {
                let before = core.process.replace(state);
                let _ = drop_quietly(before);
                core.process.as_ref().expect("just put there")
            };
            observers.tell(state);
        }
        None => {
            let reason = match why_gone {
                // As if that had been heard: its terminate hook finds what it has.
                Some(EndReason::Terminated) => EndReason::Terminated,
                None if is_known => EndReason::Crashed,
                // What we have may be older than what the store has: the next message asks it. Or there is no record
                // under its key any more, and there may be one under another. Nor is it to be written at the end.
                _ => {
                    let _ = drop_quietly(core.process.take());
                    EndReason::Asleep
                }
            };
            session.close(reason, Leftover::Refuse);
            // Also where a shutdown has closed it, and would have what waits handled: there is nothing to handle it by.
            session.refuse_waiting(&Failure::Ended(session.end_reason().unwrap_or(reason)));
        }
    }
    keep.settle_all(&Err(error.clone()));
    batch.settle(Err(error));
}
