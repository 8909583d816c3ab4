//! Giving a session another id.

use std::sync::Arc;

use super::{
    Engine,
    keep::Kept,
    registry::Rotate,
    session::{AnySession, Leftover},
};
use crate::{
    EndReason, RotateError, SessionId,
    clock::nanos,
    store::{Conflict, SessionKey, StoreError},
};

/// In one step in the registry. The record of a durable session moves before that: until the registry has followed, the
/// old id still reaches the process, and its writes go to the new place.
pub(crate) async fn rotate(engine: &Arc<Engine>, id: &SessionId, to: &SessionId) -> Result<(), RotateError> {
    let not_started = || RotateError::NotStarted { id: id.clone() };
    let deadline = engine.now().saturating_add(nanos(engine.config.call_timeout));
    let session = loop {
        let Some(session) = engine.registry.get(id) else {
            return asleep(engine, id, to).await;
        };
        let now = engine.now();
        if session.touch(now) {
            break session;
        }
        // A durable one comes back from the store, or goes there, or ends: what comes of that is known in a moment.
        if session.kept().is_none() || session.in_chain() || now >= deadline {
            return Err(not_started());
        }
        if session.is_closed() || Arc::clone(&session).expire(now) {
            super::ended(&*session, engine, deadline).await;
        } else if !session.is_ready() {
            session.started(deadline).await;
        } else {
            // It has begun just now.
            tokio::task::yield_now().await;
        }
    };
    let Some(kept) = session.kept() else {
        return in_memory(engine, &session, id, to);
    };
    // In a task: half a rotation would lose the session.
    let (owned, id, to) = (Arc::clone(engine), id.clone(), to.clone());
    let task = engine
        .runtime
        .spawn(async move { durable(&owned, session, &kept, &id, &to).await });
    task.await.unwrap_or_else(|_| Err(not_started()))
}

fn in_memory(
    engine: &Engine,
    session: &Arc<dyn AnySession>,
    id: &SessionId,
    to: &SessionId,
) -> Result<(), RotateError> {
    match engine.registry.rotate(session, id, to) {
        Ok(()) => {
            session.rotated_at(engine.now());
            session.tell_rotated();
            Ok(())
        }
        Err(Rotate::NotStarted) => Err(RotateError::NotStarted { id: id.clone() }),
        Err(Rotate::Taken) => Err(RotateError::Taken { to: to.clone() }),
    }
}

async fn durable(
    engine: &Engine,
    session: Arc<dyn AnySession>,
    kept: &Kept,
    id: &SessionId,
    to: &SessionId,
) -> Result<(), RotateError> {
    // Taken by a volatile session, which the store knows nothing of.
    if engine.registry.get(to).is_some() {
        return Err(RotateError::Taken { to: to.clone() });
    }
    let mut displaced = None;
    let rekey = || displaced = engine.rekey(&session, &SessionKey::of(id), SessionKey::of(to));
    let moved = match kept.rotate(id, to, rekey).await {
        Ok(Some(moved)) => Ok(moved),
        Ok(None) => return Err(RotateError::NotStarted { id: id.clone() }),
        Err(error) => Err(error),
    };
    if let Ok(Err(Conflict::Missing)) = &moved {
        // Deleted just before, or given an id by another node, while this session was taken for busy.
        let why = kept.why_absent().await;
        kept.is_removed();
        Arc::clone(&session).end(why, Leftover::Refuse);
    }
    outcome(moved, id, to)?;
    match in_memory(engine, &session, id, to) {
        Ok(()) => {
            // It may have been deleted under the new key before anybody here was known by that.
            let known = || engine.know_still(&session, SessionKey::of(to));
            if kept.has_lost(SessionKey::of(to), known).await {
                let why = kept.why_absent().await;
                kept.is_removed();
                session.end(why, Leftover::Refuse);
                return Err(RotateError::NotStarted { id: id.clone() });
            }
        }
        Err(error) => {
            engine.unkey(&session, SessionKey::of(to), displaced);
            // Somebody was started under the new id while its record was on the way there: the session is theirs by now.
            // Ours leaves nothing behind that the record does not hold.
            if let RotateError::Taken { .. } = error {
                session.end(EndReason::Asleep, Leftover::Refuse);
                return Ok(());
            }
            // It has ended meanwhile: told in this moment. If it fell asleep, or crashed, it is in the store alone, and there
            // it has moved.
            let mut ended = session.watch_end();
            let reason = ended.wait_for(Option::is_some).await.map_or(None, |reason| *reason);
            if reason.is_some_and(|reason| !reason.keeps_record()) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// It is not in memory; perhaps in the store.
async fn asleep(engine: &Engine, id: &SessionId, to: &SessionId) -> Result<(), RotateError> {
    let Some(records) = &engine.records else {
        return Err(RotateError::NotStarted { id: id.clone() });
    };
    outcome(records.rotate_key(SessionKey::of(id), SessionKey::of(to)).await, id, to)
}

fn outcome(moved: Result<Result<(), Conflict>, StoreError>, id: &SessionId, to: &SessionId) -> Result<(), RotateError> {
    match moved {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Conflict::Exists)) => Err(RotateError::Taken { to: to.clone() }),
        Ok(Err(_)) => Err(RotateError::NotStarted { id: id.clone() }),
        Err(source) => Err(RotateError::Store { id: id.clone(), source }),
    }
}
