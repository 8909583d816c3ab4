//! A session and its record have one life: what ends in the store ends here. And while other nodes may run the same
//! session, what they write into its record is taken over here.
//!
//! (The other way round is in [`super::keep`]: a process that ends takes its record along.)

use std::sync::{Arc, Weak};

use tokio::task::JoinSet;

use super::{
    Engine,
    keep::why_absent,
    session::{AnySession, Leftover},
};
use crate::{
    EndReason,
    process::Expiry,
    records::{Because, Ending},
    store::SessionKey,
};

pub(super) fn watch(engine: &Arc<Engine>) {
    let Some(records) = &engine.records else { return };
    let weak = Arc::downgrade(engine);
    records.on_ending(move |ending| {
        if let Some(engine) = weak.upgrade() {
            follow(&engine, ending);
        }
    });
    let weak = Arc::downgrade(engine);
    records.on_changed(move |key, version| {
        if let Some(session) = weak.upgrade().and_then(|engine| engine.durable(key)) {
            session.heard(Some(version));
        }
    });
}

fn follow(engine: &Arc<Engine>, ending: &Ending) {
    match ending {
        Ending::Removed { key, because, .. } => {
            if let Some(session) = engine.durable(key) {
                is_gone(&session, reason(*because));
            }
        }
        Ending::Rotated { from, .. } => {
            if let Some(session) = engine.durable(from) {
                ended(engine, from, &session, EndReason::Asleep);
            }
        }
        Ending::Unknown { key: Some(key) } => {
            let (weak, key) = (Arc::downgrade(engine), *key);
            engine.runtime.spawn(async move { look(&weak, &[key]).await });
        }
        Ending::Unknown { key: None } => {
            let mut looks = engine.looks.lock();
            if *looks == Looks::None {
                engine.runtime.spawn(look_at_all(Arc::downgrade(engine)));
                *looks = Looks::One;
            } else {
                *looks = Looks::AndAnother;
            }
        }
    }
}

/// Looks at all durable sessions that are under way. Notices may get lost often: of any number that want a look while
/// there is one, one more is made.
#[derive(Default, PartialEq, Eq)]
pub(super) enum Looks {
    #[default]
    None,
    One,
    AndAnother,
}

/// Sessions that are asked for at a time: the records make one request of them.
const AT_A_TIME: usize = 256;

async fn look_at_all(weak: Weak<Engine>) {
    loop {
        let Some(engine) = weak.upgrade() else { return };
        let keys: Vec<SessionKey> = engine.by_key.lock().keys().copied().collect();
        drop(engine);
        for keys in keys.chunks(AT_A_TIME) {
            look(&weak, keys).await;
        }
        let Some(engine) = weak.upgrade() else { return };
        let mut looks = engine.looks.lock();
        if *looks == Looks::One {
            *looks = Looks::None;
            return;
        }
        *looks = Looks::One;
    }
}

/// Ends sessions that are no more; the others may have been changed elsewhere.
async fn look(engine: &Weak<Engine>, keys: &[SessionKey]) {
    let mut looks: JoinSet<_> = keys.iter().map(|key| is_absent(Weak::clone(engine), *key)).collect();
    let mut absent = Vec::new();
    // One that panics in the store must not keep the others from being looked at, now or ever.
    while let Some(looked) = looks.join_next().await {
        absent.extend(looked.ok().flatten());
    }
    let Some(engine) = engine.upgrade().filter(|_| !absent.is_empty()) else {
        return;
    };
    let Some(records) = engine.records.clone() else { return };
    let first_keys: Vec<SessionKey> = absent.iter().map(|absent| absent.first_key).collect();
    let locate = engine.runtime.spawn(async move { records.locate(&first_keys).await });
    let found = locate.await.ok().and_then(Result::ok);
    for (n, Absent { key, session, .. }) in absent.iter().enumerate() {
        let found = found.as_ref().and_then(|found| found.get(n).copied());
        ended(&engine, key, session, why_absent(found));
    }
}

/// A session that has no record under its key any more.
struct Absent {
    key: SessionKey,
    first_key: SessionKey,
    session: Arc<dyn AnySession>,
}

async fn is_absent(engine: Weak<Engine>, key: SessionKey) -> Option<Absent> {
    let engine = engine.upgrade()?;
    let (session, records) = (engine.durable(&key)?, engine.records.as_ref()?);
    let kept = session.kept()?;
    if kept.first_key().is_none() {
        // It is about to be read or written for the first time. If it still has no record then, its start sees to that.
        drop(kept.place.lock().await);
    }
    let first_key = kept.first_key();
    // Where the store doesn't answer, the next write will tell.
    match records.is_there(key).await {
        Ok(false) => first_key.map(|first_key| Absent {
            key,
            first_key,
            session,
        }),
        Ok(true) => {
            session.heard(None);
            None
        }
        Err(_) => None,
    }
}

fn is_gone(session: &Arc<dyn AnySession>, reason: EndReason) {
    // What this engine itself is doing is seen to where it is done.
    if let Some(kept) = session.kept().filter(|kept| !kept.is_busy()) {
        kept.is_removed();
        Arc::clone(session).end(reason, Leftover::Refuse);
    }
}

/// There is no record under its key any more. `Asleep`: its id was changed, by the records alone or on another node, or
/// may have been, where the store can't say. It goes on elsewhere, or when it is asked for by that id; here it falls asleep
/// at once, and leaves nothing behind: under the new key a login may have been written already, which what happened under
/// the old id must not overwrite.
fn ended(engine: &Engine, key: &SessionKey, session: &Arc<dyn AnySession>, why: EndReason) {
    let Some(kept) = session.kept().filter(|kept| !kept.is_busy()) else {
        return;
    };
    // This engine's own rotation makes the new key known before it ceases to be busy.
    if engine.durable(key).is_some_and(|known| Arc::ptr_eq(&known, session)) {
        kept.is_removed();
        Arc::clone(session).end(why, Leftover::Refuse);
    }
}

fn reason(because: Because) -> EndReason {
    match because {
        Because::Expired => EndReason::Expired(Expiry::Idle),
        Because::Evicted => EndReason::Evicted,
        Because::Deleted | Because::Elsewhere => EndReason::Terminated,
    }
}

fn is(known: &Weak<dyn AnySession>, session: &Arc<dyn AnySession>) -> bool {
    std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(session))
}

impl Engine {
    fn durable(&self, key: &SessionKey) -> Option<Arc<dyn AnySession>> {
        self.by_key.lock().get(key)?.upgrade()
    }

    /// A durable session has another id. Returns who was known by that before.
    pub(super) fn rekey(
        &self,
        session: &Arc<dyn AnySession>,
        from: &SessionKey,
        to: SessionKey,
    ) -> Option<Weak<dyn AnySession>> {
        let mut by_key = self.by_key.lock();
        if !by_key.get(from).is_some_and(|known| is(known, session)) {
            // It has ended.
            return None;
        }
        by_key.remove(from);
        by_key.insert(to, Arc::downgrade(session))
    }

    /// It has not, after all. Another may be known by that key by now.
    pub(super) fn unkey(&self, session: &Arc<dyn AnySession>, to: SessionKey, displaced: Option<Weak<dyn AnySession>>) {
        let mut by_key = self.by_key.lock();
        if by_key.get(&to).is_some_and(|known| is(known, session)) {
            by_key.remove(&to);
            // One that is over has been forgotten already, or never was, as we stood in its place.
            let displaced = displaced.filter(|displaced| displaced.upgrade().is_some_and(|one| !one.is_closed()));
            by_key.extend(displaced.map(|displaced| (to, displaced)));
        }
    }

    /// A session that has `to` in the registry now. Whoever was about to start under that id meanwhile may have made us
    /// forget it.
    pub(super) fn know_still(&self, session: &Arc<dyn AnySession>, to: SessionKey) {
        let mut by_key = self.by_key.lock();
        by_key.entry(to).or_insert_with(|| Arc::downgrade(session));
        drop(by_key);
        // Over by now: nobody else takes it off the list.
        if session.is_closed() {
            self.unkey(session, to, None);
        }
    }
}
