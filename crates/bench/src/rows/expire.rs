//! What the callers of other sessions feel while 100,000 sessions expire at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::task;

use super::{Measure, crowd::Crowd};
use crate::{
    contender::Contender,
    ids::IdSource,
    ours::Ours,
    report::{Better, Figures, Row, Target, median},
    setting::Setting,
};

/// The row: the 99th percentile of the calls made while the crowd shrinks, against the same without expiry. Ours
/// only; the peers have no expiry.
#[derive(Debug)]
pub struct ExpirePause;

const NAME: &str = "expire_pause";
const EXPIRING: usize = 100_000;

impl Measure for ExpirePause {
    fn names(&self) -> Vec<&'static str> {
        vec![NAME]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(1, 5));
        let (mut without, mut during) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            eprintln!("{NAME}: round {round} of {rounds}");
            let Some(pauses) = round_of::<Ours>(setting) else {
                eprintln!("{NAME}: left out, {} has no expiry yet", Ours::NAME);
                return Vec::new();
            };
            without.push(pauses.without);
            during.push(pauses.during);
        }
        let row = Row {
            name: NAME,
            unit: "ns_p99",
            better: Better::Lower,
            target: Some(Target::ratio(0.5)),
        };
        vec![Figures::new(
            row,
            [(Ours::NAME, median(during)), ("ours_without_expiry", median(without))],
        )]
    }
}

struct Pauses {
    without: f64,
    during: f64,
}

fn round_of<C: Contender>(setting: &Setting) -> Option<Pauses> {
    let crowd = Crowd::<C>::gather(setting, Crowd::<C>::USUAL);
    let staying = crowd.system.len();
    let length = setting.round();

    // Without expiry, with the same watcher beside it.
    let system = crowd.system.clone();
    let quiet = watched(setting, &crowd, move || {
        let begin = Instant::now();
        while begin.elapsed() < length {
            assert_eq!(system.len(), staying);
            thread::sleep(WATCH);
        }
        (begin, Instant::now())
    });

    // Time enough to start them all before the first expires.
    let at = Instant::now() + setting.mode.pick(Duration::from_secs(1), Duration::from_secs(2));
    let system = crowd.system.clone();
    let begun = setting.run(async move {
        let ids = IdSource::new(4).take(EXPIRING, C::id);
        let begun = system.start_expiring(&ids, at).await;
        assert!(
            begun.is_none() || Instant::now() < at,
            "the first expired before the last was started"
        );
        begun
    });
    if begun.is_none() {
        crowd.disperse(setting);
        return None;
    }
    let system = crowd.system.clone();
    let full = staying + EXPIRING;
    thread::sleep(at.saturating_duration_since(Instant::now() + Duration::from_millis(50)));
    let expiring = watched(setting, &crowd, move || {
        // From the first that goes to the last: a sweeper that comes late doesn't hide among quiet calls.
        let first = wait_until(|| system.len() < full);
        (first, wait_until(|| system.len() == staying))
    });

    crowd.disperse(setting);
    Some(Pauses {
        without: p99(quiet),
        during: p99(expiring),
    })
}

/// How often the watcher looks. It is a thread of its own: a task would be held up by what it watches for.
const WATCH: Duration = Duration::from_micros(200);

fn wait_until(reached: impl Fn() -> bool) -> Instant {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the sessions don't expire");
        thread::sleep(WATCH);
    }
    Instant::now()
}

/// One caller times its calls round the crowd for as long as `watch` runs; those between the two instants that it
/// returns are kept.
fn watched<C: Contender>(
    setting: &Setting,
    crowd: &Crowd<C>,
    watch: impl FnOnce() -> (Instant, Instant) + Send + 'static,
) -> Vec<Duration> {
    let crowd = crowd.clone();
    setting.run(async move {
        let watcher = task::spawn_blocking(watch);
        let mut calls = Vec::with_capacity(1 << 20);
        for id in crowd.round_trip(0, 1) {
            let begin = Instant::now();
            crowd.system.call(id, 0).await;
            calls.push((begin, begin.elapsed()));
            if watcher.is_finished() {
                break;
            }
        }
        let (from, to) = watcher.await.expect("the watcher panicked");
        calls
            .into_iter()
            .filter(|(begin, took)| *begin + *took >= from && *begin <= to)
            .map(|(_, took)| took)
            .collect()
    })
}

/// The 99th percentile in nanoseconds.
pub(in crate::rows) fn p99(mut calls: Vec<Duration>) -> f64 {
    assert!(!calls.is_empty(), "no call fell into the window");
    calls.sort_unstable();
    calls[(calls.len() * 99).div_ceil(100) - 1].as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_leaves_one_in_a_hundred_above_it() {
        let calls = |count| (1..=count).map(Duration::from_nanos).collect();
        assert_eq!(p99(calls(100)), 99.0);
        assert_eq!(p99(calls(1)), 1.0);
        assert_eq!(p99(calls(1_000)), 990.0);
    }
}
