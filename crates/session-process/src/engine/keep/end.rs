//! After a panic, and at the end: what becomes of the state, and of those who wait for it.

use std::any::type_name;

use super::{Alarm, Keep, Kept, NOTE_EVERY, Writing, durable, retry_after, snapshot};
use crate::{
    EndReason, Process, SaveError,
    clock::nanos,
    durability::Pace,
    engine::session::{AnySession, Session},
    events::Event,
    process::Expiry,
};

/// After a panic: the process as it was last durable; `None` where there is no such state.
pub(in crate::engine) async fn recover<P: Process>(session: &Session<P>, keep: Option<&mut Keep>) -> Option<P> {
    let (keep, kept) = (keep?, session.kept.as_ref()?);
    // What is on its way was changed by messages before the one that panicked.
    if let Some(Writing { batch, snapshot }) = keep.writing.take() {
        match batch.written().await {
            Ok(()) => keep.durable = Some(snapshot),
            Err(error) => batch.settle(Err(error)),
        }
    }
    keep.settle_all(&Err(SaveError::Crashed));
    keep.alarm = Alarm::Off;
    if kept.place.lock().await.gone {
        return None;
    }
    snapshot::read(&durable::<P>().schema, keep.durable.as_ref()?).ok()
}

/// Whether another node has used a session later than this one, where it is idle.
async fn is_used_elsewhere<P: Process>(session: &Session<P>, keep: &Keep, kept: &Kept) -> bool {
    let place = kept.place.lock().await;
    let Ok(Some(record)) = kept.records.record(place.key).await else {
        return false;
    };
    let there = nanos(kept.records.now().saturating_since(record.accessed_at));
    let here = session.engine.now().saturating_sub(keep.used);
    // The store hears of our own uses a little later.
    there.saturating_add(2 * nanos(NOTE_EVERY)) < here
}

/// The end of a session: its record goes, or gets its last state.
pub(in crate::engine) async fn end<P: Process>(
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
    let idle_here = reason == EndReason::Expired(Expiry::Idle);
    let stays = reason.keeps_record() || idle_here && is_used_elsewhere(session, keep, kept).await;
    if !stays {
        let outcome = kept.delete().await.map_err(SaveError::Store);
        if let Err(error) = &outcome {
            failed(error);
        }
        // Its changes went with it, as somebody wanted: no reply is wrong.
        return keep.settle_all(&outcome);
    }
    if let Some(Writing { batch, snapshot }) = keep.writing.take() {
        match batch.written().await {
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
    let snapshot = snapshot::write(&durable::<P>().schema, process);
    let mut failures = 0;
    let outcome = loop {
        let outcome = match &snapshot {
            Ok(snapshot) if keep.durable.as_ref() == Some(snapshot) => Ok(()),
            Ok(snapshot) => kept.save(snapshot, keep.durable.as_ref()).await,
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = &outcome {
            failed(error);
        }
        // While the engine shuts down there is a deadline, and nobody to write it later.
        if !matches!(outcome, Err(SaveError::Store(_))) || !session.engine.is_closing() {
            break outcome;
        }
        session.engine.clock.sleep(retry_after(failures)).await;
        failures += 1;
    };
    if let Some(batch) = batch {
        batch.settle(outcome);
    }
}
