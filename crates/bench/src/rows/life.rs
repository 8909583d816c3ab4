//! Sessions started a second, by one task in an empty system, and stopped a second.

use std::{sync::Arc, time::Instant};

use super::Rounds;
use crate::{
    contender::Contender,
    ids::IdSource,
    report::{Row, Target},
    setting::{Mode, Setting},
};

/// Starts sessions and stops them again; both are timed in the same round.
///
/// The ids are there beforehand. The clock of the start stops when every session has run its own start; that of the
/// end, when every session has ended and the registry is empty.
#[derive(Debug)]
pub struct Life {
    /// How many.
    pub sessions: usize,
}

impl Life {
    /// A busy site.
    pub const HUNDRED_THOUSAND: Self = Self { sessions: 100_000 };
}

impl Rounds for Life {
    type Stage<C: Contender> = Arc<[C::Id]>;

    fn rows(&self) -> Vec<Row> {
        vec![
            Row::per_second("start_100k", "sessions/s", Target::ratio(3.0)),
            Row::per_second("stop_all", "sessions/s", Target::ratio(2.0)),
        ]
    }

    fn rounds(&self, mode: Mode) -> usize {
        mode.pick(2, 7)
    }

    fn prepare<C: Contender>(&self, _: &Setting) -> Arc<[C::Id]> {
        IdSource::new(2).take(self.sessions, C::id).into()
    }

    fn round<C: Contender>(&self, setting: &Setting, ids: &Arc<[C::Id]>) -> Vec<f64> {
        let ids = Arc::clone(ids);
        let samples = setting.run(async move {
            let system = C::new().await;
            let begin = Instant::now();
            for id in ids.iter() {
                system.start(id).await;
            }
            system.usable(ids.len()).await;
            let start = begin.elapsed();
            assert_eq!(system.len(), ids.len());

            let begin = Instant::now();
            system.stop_all().await;
            let stop = begin.elapsed();
            assert!(system.is_empty());
            [start, stop].map(|took| ids.len() as f64 / took.as_secs_f64())
        });
        samples.to_vec()
    }

    fn finish<C: Contender>(&self, _: &Setting, _: Arc<[C::Id]>) {}
}
