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

/// How far the `nth` sender goes from one of `len` sessions to the next: with no divisor in common, so that it comes to
/// all of them. Found in a few tries: this is part of what is measured.
fn step(len: usize, nth: usize) -> usize {
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    // From the golden section on, and far from each other.
    let first = len * 618 / 1_000 + nth * 97;
    let mut steps = (first..first + len).map(|step| step % len);
    steps.find(|step| gcd(len, *step) == 1).unwrap_or(0)
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

    /// All ids again and again, from the `nth` of `of` starting points on, each in an order of its own.
    ///
    /// In one order for all, those that run at the same time would go through the sessions right behind each other,
    /// and the one behind would find every line of memory in the cache of the other: that measures the machine's
    /// caches, not senders that seldom meet.
    pub fn round_trip(&self, nth: usize, of: usize) -> impl Iterator<Item = &C::Id> + Send {
        let len = self.ids.len();
        let step = step(len, nth);
        let mut at = len * nth / of;
        std::iter::repeat_with(move || {
            let id = &self.ids[at];
            at += step;
            if at >= len {
                at -= len;
            }
            id
        })
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
