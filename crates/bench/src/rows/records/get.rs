//! Reads of cached sessions a second.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Reader, ours::Ours, tower::Tower};
use crate::{
    report::{Figures, Row, Target, median},
    rows::Measure,
    setting::Setting,
};

/// Sessions that are read, all of them in the cache.
const SESSIONS: usize = 10_000;

/// A number of callers at 10,000 cached sessions. Ours notes each access; theirs keeps none.
#[derive(Debug)]
pub struct GetCached {
    name: &'static str,
    callers: usize,
}

impl GetCached {
    /// One caller.
    pub const ONE: Self = Self {
        name: "get_cached_1",
        callers: 1,
    };
    /// 64 callers.
    pub const MANY: Self = Self {
        name: "get_cached_64",
        callers: 64,
    };
}

impl Measure for GetCached {
    fn names(&self) -> Vec<&'static str> {
        vec![self.name]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let (ours, theirs) = (stage::<Ours>(setting), stage::<Tower>(setting));
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(3, 9));
        let mut samples = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            samples.0.push(self.round(setting, &ours));
            samples.1.push(self.round(setting, &theirs));
        }
        let row = Row::per_second(self.name, "reads/s", Target::ratio(2.0));
        let sides = [(Ours::NAME, median(samples.0)), (Tower::NAME, median(samples.1))];
        vec![Figures::new(row, sides)]
    }
}

struct Stage<R: Reader> {
    reader: R,
    ids: Arc<[R::Id]>,
}

fn stage<R: Reader>(setting: &Setting) -> Stage<R> {
    setting.run(async {
        let reader = R::new();
        let mut ids = Vec::with_capacity(SESSIONS);
        for _ in 0..SESSIONS {
            ids.push(reader.create().await);
        }
        for id in &ids {
            reader.get(id).await;
        }
        Stage {
            reader,
            ids: ids.into(),
        }
    })
}

impl GetCached {
    fn round<R: Reader>(&self, setting: &Setting, stage: &Stage<R>) -> f64 {
        let (reader, ids, of, length) = (
            stage.reader.clone(),
            Arc::clone(&stage.ids),
            self.callers,
            setting.round(),
        );
        setting.run(async move {
            let begin = Instant::now();
            let callers: Vec<_> = (0..of)
                .map(|nth| {
                    tokio::spawn(read(
                        reader.clone(),
                        Arc::clone(&ids),
                        nth * SESSIONS / of,
                        begin,
                        length,
                    ))
                })
                .collect();
            let mut reads = 0;
            for caller in callers {
                reads += caller.await.expect("a caller panicked");
            }
            reads as f64 / begin.elapsed().as_secs_f64()
        })
    }
}

async fn read<R: Reader>(reader: R, ids: Arc<[R::Id]>, from: usize, begin: Instant, length: Duration) -> u64 {
    /// How many reads go between two looks at the clock, so that the clock costs next to nothing. After as many a
    /// caller gives way to the others.
    const STRIDE: u64 = 64;
    let mut ids = ids.iter().cycle().skip(from);
    let mut reads = 0;
    while begin.elapsed() < length {
        for id in ids.by_ref().take(STRIDE as usize) {
            assert!(black_box(reader.get(id).await).is_some());
        }
        reads += STRIDE;
        tokio::task::yield_now().await;
    }
    reads
}
