//! Look-ups a second: is this session there?

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use super::{Rounds, crowd::Crowd};
use crate::{
    contender::Contender,
    report::{Row, Target},
    setting::{Mode, Setting},
};

/// Two threads at 10,000 sessions. The peers are all the same here, a `DashMap`.
#[derive(Debug)]
pub struct Lookup;

impl Rounds for Lookup {
    type Stage<C: Contender> = Crowd<C>;

    fn rows(&self) -> Vec<Row> {
        vec![Row::per_second("lookup", "lookups/s", Target::ratio(0.9))]
    }

    fn rounds(&self, mode: Mode) -> usize {
        mode.pick(3, 9)
    }

    fn prepare<C: Contender>(&self, setting: &Setting) -> Crowd<C> {
        Crowd::gather(setting, Crowd::<C>::USUAL)
    }

    fn round<C: Contender>(&self, setting: &Setting, crowd: &Crowd<C>) -> Vec<f64> {
        let begin = Instant::now();
        let length = setting.round();
        let lookups: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..Setting::WORKERS)
                .map(|nth| scope.spawn(move || look_up(crowd, nth, begin, length)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a thread panicked"))
                .sum()
        });
        vec![lookups as f64 / begin.elapsed().as_secs_f64()]
    }

    fn finish<C: Contender>(&self, setting: &Setting, crowd: Crowd<C>) {
        crowd.disperse(setting);
    }
}

/// The `nth` thread. Returns how often it looked.
fn look_up<C: Contender>(crowd: &Crowd<C>, nth: usize, begin: Instant, length: Duration) -> u64 {
    /// How many look-ups go between two looks at the clock, so that the clock costs next to nothing.
    const STRIDE: u64 = 256;
    let mut ids = crowd.round_trip(nth, Setting::WORKERS);
    let mut lookups = 0;
    while begin.elapsed() < length {
        for id in ids.by_ref().take(STRIDE as usize) {
            assert!(black_box(crowd.system.is_started(id)));
        }
        lookups += STRIDE;
    }
    lookups
}
