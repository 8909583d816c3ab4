//! Ending sessions whose time is up and whom nobody asks for any more.
//!
//! Expiry is exact at use without this; the sweep frees memory, runs terminate hooks and tells monitors. It looks at
//! an entry of the registry only when its session could have expired, and gives its thread to others after each
//! slice, so that a million sessions that expire at once don't hold up the callers of the rest.

use std::{
    ops::Range,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{
    Engine,
    near::{Forgot, Near},
    session::AnySession,
};
use crate::{
    clock::{Clock, nanos},
    events::Event,
};

/// Sessions that are ended in one go. At some hundred nanoseconds each, others wait for about 50 microseconds.
const SLICE: usize = 128;

/// In so many sweeps it comes to what ended sessions have left behind with each thread. Divides the number of places.
const CLEARED_IN: usize = 8;

pub(super) fn spawn(engine: &Arc<Engine>) {
    let clock = engine.clock.clone();
    let interval = engine.config.sweep_interval;
    // The task must not keep the engine alive: it holds it only while it sweeps.
    let begun = clock.now();
    engine
        .runtime
        .spawn(run(Arc::downgrade(engine), clock, begun, interval));
}

async fn run(engine: Weak<Engine>, clock: Clock, begun: u64, interval: Duration) {
    let mut last = begun;
    for nth in (0..CLEARED_IN).cycle() {
        clock.sleep_until(last.saturating_add(nanos(interval))).await;
        last = clock.now();
        let Some(engine) = engine.upgrade() else { return };
        if engine.is_closing() {
            return;
        }
        sweep(&engine).await;
        if let Some(near) = &engine.near {
            let places = near.places() / CLEARED_IN;
            clear_up(near, nth * places..(nth + 1) * places).await;
        }
    }
}

/// What ended sessions have left behind with some of the threads.
pub(super) async fn clear_up(near: &Near, places: Range<usize>) {
    for place in places {
        let mut part = 0;
        loop {
            let forgot = near.forget_ended(place, part);
            tokio::task::yield_now().await;
            match forgot {
                Forgot::Busy => {}
                Forgot::Part => part += 1,
                Forgot::All => break,
            }
        }
    }
}

async fn sweep(engine: &Engine) {
    let begun = Instant::now();
    let mut expired = 0;
    let mut due = Vec::new();
    for shard in 0..engine.registry.shards() {
        loop {
            let now = engine.now();
            engine.registry.due(shard, now, SLICE, &mut due);
            let found = due.len();
            expired += end_expired(due.drain(..), now);
            if found > 0 {
                tokio::task::yield_now().await;
            }
            if found < SLICE {
                break;
            }
        }
        // A look at a shard is a few microseconds at a million sessions.
        if shard % 8 == 7 {
            tokio::task::yield_now().await;
        }
    }
    if let Some(rate) = &engine.keyed_rate {
        rate.forget_idle();
    }
    report(engine, expired, begun);
}

#[cfg(any(test, feature = "testing"))]
/// Ends every session that has expired by now, and says how many.
pub(crate) async fn sweep_all(engine: &Engine) -> usize {
    let begun = Instant::now();
    let mut expired = 0;
    for shard in 0..engine.registry.shards() {
        let mut sessions = engine.registry.collect(shard);
        while !sessions.is_empty() {
            let rest = sessions.len().saturating_sub(SLICE);
            expired += end_expired(sessions.drain(rest..), engine.now());
            tokio::task::yield_now().await;
        }
    }
    report(engine, expired, begun);
    expired
}

fn end_expired(sessions: impl Iterator<Item = Arc<dyn AnySession>>, now: u64) -> usize {
    sessions
        .filter(|session| !session.is_closed() && session.due_at() <= now)
        .map(|session| {
            if session.life().expires_at() <= now {
                return usize::from(session.expire(now));
            }
            session.sleep(now);
            0
        })
        .sum()
}

fn report(engine: &Engine, expired: usize, begun: Instant) {
    if expired > 0 {
        engine.events.emit(|| Event::Swept {
            expired,
            took: begun.elapsed(),
        });
    }
}
