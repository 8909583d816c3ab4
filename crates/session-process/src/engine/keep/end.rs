//! After a panic, and at the end: what becomes of the state, and of those who wait for it.

use std::time::Duration;

use super::{
    Alarm, Keep, RETRY, Writing, durable,
    kept::By,
    snapshot,
    write::{is_open, tell_failed},
};
use crate::{
    EndReason, Process, SaveError,
    clock::nanos,
    durability::Pace,
    engine::{guard::caught, session::Session},
};

/// The longest time between two tries while the engine shuts down: a store that is back is to be met before the end.
const LAST_TRIES: Duration = Duration::from_secs(1);

/// Whether a session that has idled out here is in use all the same, at another node or by its records. What the store
/// can't be asked about is for the store to end.
pub(in crate::engine) async fn is_used_elsewhere<P: Process>(session: &Session<P>) -> bool {
    let Some(kept) = &session.kept else { return false };
    let key = kept.place.lock().await.key;
    match kept.records.record(key).await {
        // Or it has another id, where it is used; or may have one, where the store can't say.
        Ok(None) => !matches!(kept.locate().await, Ok(None)),
        Ok(Some(record)) => {
            let (idle_timeout, _) = session.life().limits(session.engine.now());
            let unused = kept.records.now().saturating_since(record.accessed_at);
            idle_timeout.is_none_or(|timeout| unused < timeout)
        }
        Err(_) => true,
    }
}

/// After a panic: the process as it was last durable; `None` where there is no such state.
pub(in crate::engine) async fn recover<P: Process>(session: &Session<P>, keep: Option<&mut Keep>) -> Option<P> {
    let (keep, kept) = (keep?, session.kept.as_ref()?);
    // What is on its way was changed by messages before the one that panicked.
    if let Some(Writing { batch, snapshot }) = keep.writing.take() {
        match batch.written().await {
            Ok(()) => keep.known.is_durable(snapshot),
            Err(error) => {
                keep.known.has_failed(snapshot, &error, durable::<P>().pace);
                batch.settle(Err(error));
            }
        }
        // What settles it may have been refused with all that waited.
        kept.write_is_over();
    }
    keep.settle_all(&Err(SaveError::Crashed));
    keep.alarm = Alarm::Off;
    if kept.place.lock().await.gone {
        return None;
    }
    snapshot::read(&durable::<P>().schema, keep.known.durable.as_ref()?).ok()
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
    if !reason.keeps_record() {
        let outcome = kept.delete().await.map_err(SaveError::Store);
        if let Err(error) = &outcome {
            tell_failed(session, error);
        }
        // Its changes went with it, as somebody wanted: no reply is wrong.
        return keep.settle_all(&outcome);
    }
    let pace = durable::<P>().pace;
    let mut unsettled = Vec::new();
    if let Some(Writing { batch, snapshot }) = keep.writing.take() {
        match batch.written().await {
            Ok(()) => keep.known.is_durable(snapshot),
            Err(error @ SaveError::Store(_)) => {
                keep.known.has_failed(snapshot, &error, pace);
                // It is in what is written now, and told what becomes of that.
                unsettled.push(batch);
            }
            Err(error) if pace == Pace::Through => batch.settle(Err(error)),
            Err(_) => unsettled.push(batch),
        }
    }
    unsettled.extend(keep.open.take());
    // After a crash the state is as the panic left it: not to be kept.
    let Some(process) = process.filter(|_| reason != EndReason::Crashed) else {
        for batch in unsettled {
            batch.settle(Err(SaveError::Crashed));
        }
        return;
    };
    // Also what a terminate hook has changed.
    let snapshot = snapshot::write(&durable::<P>().schema, process);
    let mut failures = 0;
    let outcome = loop {
        let outcome = match &snapshot {
            Ok(snapshot) if keep.known.is(snapshot) => Ok(()),
            Ok(snapshot) => kept.save(snapshot, &keep.known, By::Turn).await,
            Err(error) => Err(error.clone()),
        };
        if let Err(error) = &outcome {
            tell_failed(session, error);
        }
        // While the engine shuts down there is nobody to write it later.
        let again = session
            .engine
            .now()
            .saturating_add(nanos(RETRY.wait(failures).min(LAST_TRIES)));
        if !outcome.as_ref().is_err_and(is_open) || again >= session.engine.shut_down_by() {
            break outcome;
        }
        if let (Ok(snapshot), Err(error)) = (&snapshot, &outcome) {
            keep.known.has_failed(snapshot.clone(), error, pace);
        }
        session.engine.clock.sleep_until(again).await;
        failures += 1;
    };
    if outcome.is_ok() {
        // Whoever still follows it sees its last state.
        let _ = caught(|| process.snapshot_durable());
    }
    for batch in unsettled {
        batch.settle(outcome.clone());
    }
}
