//! What another node has written into a session's record is taken over by its process here.

use std::{mem, sync::Arc};

use super::{Known, durable, snapshot};
use crate::{
    EndReason, Process,
    engine::{
        guard::drop_quietly,
        run::Run,
        session::{Beside, Core, Envelope, Failure, Leftover, Session},
    },
    store::Version,
};

/// The record has this version, which may be the work of another node. A process that has nothing to write takes over
/// what that node left; one that has finds out when it writes.
pub(in crate::engine) fn heard<P: Process>(session: Arc<Session<P>>, version: Version) {
    let Some(kept) = session.kept.clone() else { return };
    if kept.leaves_to_write(version) {
        return;
    }
    let place = kept.place.try_lock().ok();
    match place.map(|place| place.is_behind(version)) {
        Some(true) => take_over(&session),
        Some(false) => {}
        // It is being loaded, moved or deleted.
        None => {
            let runtime = session.engine.runtime.clone();
            runtime.spawn(async move {
                let is_behind = kept.place.lock().await.is_behind(version);
                if is_behind {
                    take_over(&session);
                }
            });
        }
    }
}

/// Has a session look at its record.
pub(in crate::engine) fn take_over<P: Process>(session: &Arc<Session<P>>) {
    if session.kept.as_ref().is_some_and(|kept| kept.want_look()) {
        remind(session);
    }
}

/// Has a session that is to look at its record come to it.
pub(in crate::engine) fn remind<P: Process>(session: &Arc<Session<P>>) {
    if session.kept.as_ref().is_some_and(|kept| kept.is_look_wanted()) {
        // If it is closed, it comes back from its record anyway.
        session.post(Arc::new(TakeOver));
    }
}

struct TakeOver;

impl<P: Process> Envelope<P> for TakeOver {
    fn open(self: Arc<Self>, session: Arc<Session<P>>) -> Option<Run> {
        Some(Box::pin(async move {
            let mut core = session.core.borrow_mut();
            look_if_wanted(&session, core.get_mut()).await;
        }))
    }

    // After a crash, what comes then sees to it.
    fn refuse(&self, _: Failure) {}
}

/// Looks at the record, if that is wanted and there is nothing to write. (Who has something to write has the next look when
/// that is settled; whether it was written, was refused, or was no change after all.)
pub(super) async fn look_if_wanted<P: Process>(session: &Arc<Session<P>>, core: &mut Core<P>) {
    let (Some((keep, observers)), Some(kept), Some(process)) =
        (Beside::both(&mut core.beside), &session.kept, &mut core.process)
    else {
        return;
    };
    if keep.newest().is_some() || !kept.take_look() {
        return;
    }
    let mut place = kept.place.lock().await;
    let record = match kept.records.record(place.key).await {
        Ok(Some(record)) if !place.gone => record,
        // That is told by itself.
        Ok(_) => return,
        // What is in memory is old, and what is true can't be asked for: its next message asks again.
        Err(_) => {
            session.close(EndReason::Asleep, Leftover::Refuse);
            return;
        }
    };
    place.version = place.version.max(record.version);
    kept.began(record.first_key);
    if record.snapshot == keep.known.durable {
        // Attributes, an owner; or it was our own change.
        return;
    }
    let found = record.snapshot.as_ref();
    let state = found.and_then(|found| snapshot::read(&durable::<P>().schema, found).ok());
    match state {
        Some(state) => {
            keep.known = Known {
                durable: record.snapshot,
                open: Vec::new(),
            };
            let _ = drop_quietly(mem::replace(process, state));
            observers.tell(process);
        }
        // The next message is told why: as for one that was asleep.
        None => {
            session.close(EndReason::Asleep, Leftover::Refuse);
        }
    }
}
