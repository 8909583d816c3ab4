//! Calls a second: look-up, message, reply.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use super::{Rounds, crowd::Crowd};
use crate::{
    contender::Contender,
    report::{Row, Target},
    setting::{Mode, Setting},
};

/// A number of callers at a number of sessions.
#[derive(Debug)]
pub struct Call {
    name: &'static str,
    callers: usize,
    sessions: usize,
    target: f64,
}

impl Call {
    /// One caller.
    pub const ONE: Self = Self {
        name: "call_1",
        callers: 1,
        sessions: 10_000,
        target: 4.0,
    };
    /// 64 callers that seldom meet.
    pub const SPREAD: Self = Self {
        name: "call_64_spread",
        callers: 64,
        sessions: 10_000,
        target: 2.5,
    };
    /// 64 callers at one session.
    pub const HOT: Self = Self {
        name: "call_64_hot",
        callers: 64,
        sessions: 1,
        target: 1.5,
    };
}

impl Rounds for Call {
    type Stage<C: Contender> = Crowd<C>;

    fn rows(&self) -> Vec<Row> {
        vec![Row::per_second(self.name, "calls/s", Target::ratio(self.target))]
    }

    fn rounds(&self, mode: Mode) -> usize {
        mode.pick(3, 9)
    }

    fn prepare<C: Contender>(&self, setting: &Setting) -> Crowd<C> {
        Crowd::gather(setting, self.sessions)
    }

    fn round<C: Contender>(&self, setting: &Setting, crowd: &Crowd<C>) -> Vec<f64> {
        let (crowd, of, length) = (crowd.clone(), self.callers, setting.round());
        vec![setting.run(async move {
            let begin = Instant::now();
            let callers: Vec<_> = (0..of)
                .map(|nth| tokio::spawn(call(crowd.clone(), nth, of, begin, length)))
                .collect();
            let mut calls = 0;
            for caller in callers {
                calls += caller.await.expect("a caller panicked");
            }
            let took = begin.elapsed();
            crowd.sent(calls);
            calls as f64 / took.as_secs_f64()
        })]
    }

    fn finish<C: Contender>(&self, setting: &Setting, crowd: Crowd<C>) {
        crowd.disperse(setting);
    }
}

/// The `nth` of `of` callers. Returns how many calls it made.
async fn call<C: Contender>(crowd: Crowd<C>, nth: usize, of: usize, begin: Instant, length: Duration) -> u64 {
    /// How many calls go between two looks at the clock, so that the clock costs next to nothing.
    const STRIDE: u64 = 64;
    let mut ids = crowd.round_trip(nth, of);
    let mut calls = 0;
    while begin.elapsed() < length {
        for id in ids.by_ref().take(STRIDE as usize) {
            black_box(crowd.system.call(id, 1).await);
        }
        calls += STRIDE;
    }
    calls
}
