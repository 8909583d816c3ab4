//! [`Crowd`]: sessions that are started and stay, with their ids in an order that no cache can guess.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{contender::Contender, ids::IdSource, setting::Setting};

/// The sessions that the messages of a row go to.
#[derive(Debug, Clone)]
pub struct Crowd<C: Contender> {
    /// The system that they live in.
    pub system: C,
    /// Their ids, shuffled.
    pub ids: Arc<[C::Id]>,
    sent: Arc<AtomicU64>,
}

impl<C: Contender> Crowd<C> {
    /// As many sessions as most rows have.
    pub const USUAL: usize = 10_000;

    /// Starts `count` sessions.
    pub fn gather(setting: &Setting, count: usize) -> Self {
        setting.run(async move {
            let mut source = IdSource::new(1);
            let mut ids = source.take(count, C::id);
            let system = C::new().await;
            for id in &ids {
                system.start(id).await;
            }
            system.usable(count).await;
            source.shuffle(&mut ids);
            Self {
                system,
                ids: ids.into(),
                sent: Arc::default(),
            }
        })
    }

    /// The ids again and again, from the `nth` of `of` starting points on.
    pub fn round_trip(&self, nth: usize, of: usize) -> impl Iterator<Item = &C::Id> + Send {
        self.ids.iter().cycle().skip(self.ids.len() * nth / of)
    }

    /// Notes that `ones` messages were sent that each added 1.
    pub fn sent(&self, ones: u64) {
        self.sent.fetch_add(ones, Relaxed);
    }

    /// Calls each session, so that all that was sent before has been handled, and checks that it was, once.
    ///
    /// 64 callers share the work: the time of this counts in some rows, and one caller would measure the way to and
    /// from a session rather than what is left in the queues.
    pub async fn settle(&self) {
        const CALLERS: usize = 64;
        let share = self.ids.len().div_ceil(CALLERS);
        let callers: Vec<_> = (0..CALLERS)
            .map(|nth| {
                let Self { system, ids, .. } = self.clone();
                tokio::spawn(async move {
                    let mut sum = 0;
                    for id in ids.iter().skip(nth * share).take(share) {
                        sum += system.call(id, 0).await;
                    }
                    sum
                })
            })
            .collect();
        let mut sum = 0;
        for caller in callers {
            sum += caller.await.expect("a caller panicked");
        }
        assert_eq!(sum, self.sent.load(Relaxed), "a message was not handled, or twice");
    }

    /// Checks that all was handled and stops all sessions.
    pub fn disperse(self, setting: &Setting) {
        setting.run(async move {
            self.settle().await;
            self.system.stop_all().await;
        });
    }
}
