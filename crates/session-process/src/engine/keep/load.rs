//! A durable session begins: from its record, or with a new one.

use super::{Keep, durable, kept::By, snapshot};
use crate::{
    LoadError, Process, SaveError,
    clock::nanos,
    engine::{life::Life, session::Session},
    store::{Create, Lifetime, Op, Record, Version},
};

/// Brings a process back from its record, if that has its state. Only for the holder of the run right.
pub(in crate::engine) async fn load<P: Process>(session: &Session<P>, keep: &mut Keep) -> Result<Option<P>, LoadError> {
    let Some(kept) = &session.kept else { return Ok(None) };
    let mut place = kept.place.lock().await;
    let Some(record) = kept.records.record(place.key).await.map_err(LoadError::Store)? else {
        return Ok(None);
    };
    place.version = record.version;
    kept.began(record.first_key);
    resume(session.life(), session.engine.now(), kept.records.now(), &record);
    let Some(snapshot) = record.snapshot else {
        return Ok(None);
    };
    let process = snapshot::read(&durable::<P>().schema, &snapshot)?;
    keep.known.is_durable(snapshot);
    Ok(Some(process))
}

/// The clocks of a session that comes back go on where its record says.
fn resume(life: Life, now: u64, store_now: crate::Timestamp, record: &Record) {
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
pub(in crate::engine) async fn save_first<P: Process>(
    session: &Session<P>,
    process: &mut P,
    keep: &mut Keep,
) -> Result<(), LoadError> {
    let Some(kept) = &session.kept else { return Ok(()) };
    let snapshot = snapshot::write(&durable::<P>().schema, process).map_err(LoadError::Save)?;
    let is_new = kept.place.lock().await.version == Version::default();
    if is_new {
        let mut place = kept.place.lock().await;
        if place.gone {
            // Ended while it started.
            return Err(LoadError::Save(SaveError::Gone));
        }
        let now = kept.records.now();
        let (idle_timeout, rest) = session.life().limits(session.engine.now());
        let create = Create {
            lifetime: Lifetime {
                expires_at: rest.map(|rest| now.saturating_add(rest)),
                idle_timeout,
            },
            snapshot: Some(snapshot.clone()),
            ..Create::default()
        };
        match kept
            .commit(&place, Op::Create(Box::new(create)), By::Turn)
            .await
            .map_err(LoadError::Save)?
        {
            Ok(version) => {
                place.version = version;
                kept.began(place.key);
            }
            // Another node was quicker, within this moment.
            Err(_) => return Err(LoadError::Save(SaveError::Conflict)),
        }
    } else {
        kept.save(&snapshot, &keep.known, By::Turn)
            .await
            .map_err(LoadError::Save)?;
    }
    keep.known.is_durable(snapshot);
    Ok(())
}
