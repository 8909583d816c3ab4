//! One-way messages a second, until they are handled.

use std::time::{Duration, Instant};

use super::{Rounds, crowd::Crowd};
use crate::{
    contender::Contender,
    report::{Row, Target},
    setting::{Mode, Setting},
};

/// A number of senders at 10,000 sessions.
///
/// The clock stops when a call to each session has been answered, so nobody wins by filling queues; those calls are
/// messages too and are counted.
#[derive(Debug)]
pub struct Cast {
    name: &'static str,
    senders: usize,
}

impl Cast {
    /// One sender.
    pub const ONE: Self = Self {
        name: "cast_1",
        senders: 1,
    };
    /// 64 senders that seldom meet.
    pub const SPREAD: Self = Self {
        name: "cast_64_spread",
        senders: 64,
    };
}

impl Rounds for Cast {
    type Stage<C: Contender> = Crowd<C>;

    fn rows(&self) -> Vec<Row> {
        vec![Row::per_second(self.name, "casts/s", Target::ratio(2.0))]
    }

    fn rounds(&self, mode: Mode) -> usize {
        // More than others have: what is sent from two cores to memory of both goes to and fro by a half, on either side.
        mode.pick(3, 21)
    }

    fn prepare<C: Contender>(&self, setting: &Setting) -> Crowd<C> {
        Crowd::gather(setting, Crowd::<C>::USUAL)
    }

    fn round<C: Contender>(&self, setting: &Setting, crowd: &Crowd<C>) -> Vec<f64> {
        let (crowd, of, length) = (crowd.clone(), self.senders, setting.round());
        vec![setting.run(async move {
            let begin = Instant::now();
            let senders: Vec<_> = (0..of)
                .map(|nth| tokio::spawn(cast(crowd.clone(), nth, of, begin, length)))
                .collect();
            let mut casts = 0;
            for sender in senders {
                casts += sender.await.expect("a sender panicked");
            }
            crowd.sent(casts);
            crowd.settle().await;
            let took = begin.elapsed();
            (casts + crowd.ids.len() as u64) as f64 / took.as_secs_f64()
        })]
    }

    fn finish<C: Contender>(&self, setting: &Setting, crowd: Crowd<C>) {
        crowd.disperse(setting);
    }
}

/// The `nth` of `of` senders. Returns how many messages it sent.
async fn cast<C: Contender>(crowd: Crowd<C>, nth: usize, of: usize, begin: Instant, length: Duration) -> u64 {
    /// How many messages go between two looks at the clock, so that the clock costs next to nothing.
    const STRIDE: u64 = 64;
    let mut ids = crowd.round_trip(nth, of);
    let mut casts = 0;
    while begin.elapsed() < length {
        for id in ids.by_ref().take(STRIDE as usize) {
            crowd.system.cast(id, 1).await;
        }
        casts += STRIDE;
    }
    casts
}
