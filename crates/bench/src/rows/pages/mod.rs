//! Live pages over connections of the loopback, against what one would write with axum alone: server-sent events from
//! a `tokio::sync::watch` for each session.
//!
//! The pages are read in this process and on its runtime, so what that costs is in the figures of both sides alike.

mod readers;
mod sides;

use std::time::{Duration, Instant};

use self::{
    readers::Readers,
    sides::{Bare, Ours, Side},
};
use crate::{
    child,
    report::{Better, Figures, Row, Target, median},
    rows::Measure,
    setting::{Mode, Setting},
};

/// Pages that are open at once.
const PAGES: usize = 1_000;

/// The rows.
#[derive(Debug, Clone, Copy)]
pub enum LivePages {
    /// Resident bytes of an idle page with its connection, each of a session of its own.
    Bytes,
    /// One change to 1,000 pages of one session: until the 990th has it.
    Fanout,
    /// Changes a second over 1,000 sessions with a page each.
    Many,
}

impl LivePages {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bytes, Self::Fanout, Self::Many];

    /// The child's part of [`Bytes`](Self::Bytes).
    pub(super) const IN_CHILD: &'static str = "page-bytes";

    fn row(self) -> Row {
        match self {
            Self::Bytes => Row {
                name: "page_bytes",
                unit: "bytes",
                better: Better::Lower,
                target: Some(Target::ratio(0.7)),
            },
            Self::Fanout => Row {
                name: "push_fanout",
                unit: "us p99",
                better: Better::Lower,
                target: Some(Target::ratio(0.6)),
            },
            Self::Many => Row::per_second("push_many", "changes/s", Target::ratio(0.6)),
        }
    }
}

impl Measure for LivePages {
    fn names(&self) -> Vec<&'static str> {
        vec![self.row().name]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(3, 9));
        let mut samples = (Vec::new(), Vec::new());
        match self {
            // Memory repeats itself.
            Self::Bytes => {
                for (side, samples) in [(Ours::NAME, &mut samples.0), (Bare::NAME, &mut samples.1)] {
                    samples.push(child::measure(&[Self::IN_CHILD, side, "2000"]));
                }
            }
            Self::Fanout => {
                let (ours, bare) = (stage::<Ours>(setting, 1, PAGES), stage::<Bare>(setting, 1, PAGES));
                for _ in 0..rounds {
                    samples.0.push(fanout(setting, &ours));
                    samples.1.push(fanout(setting, &bare));
                }
            }
            Self::Many => {
                let (ours, bare) = (stage::<Ours>(setting, PAGES, 1), stage::<Bare>(setting, PAGES, 1));
                for _ in 0..rounds {
                    samples.0.push(many(setting, &ours));
                    samples.1.push(many(setting, &bare));
                }
            }
        }
        let sides = [(Ours::NAME, median(samples.0)), (Bare::NAME, median(samples.1))];
        vec![Figures::new(self.row(), sides)]
    }
}

struct Stage<S> {
    side: S,
    readers: Readers,
}

/// Sessions, and so many pages of each.
fn stage<S: Side>(setting: &Setting, sessions: usize, pages: usize) -> Stage<S> {
    setting.run(async move {
        let side = S::new(sessions).await;
        let readers = Readers::open(&side, sessions, pages).await;
        Stage { side, readers }
    })
}

/// The median of some changes: how many microseconds until 99 of 100 pages have it.
fn fanout<S: Side>(setting: &Setting, stage: &Stage<S>) -> f64 {
    let (side, readers, changes) = (stage.side.clone(), stage.readers.clone(), setting.mode.pick(5usize, 21));
    setting.run(async move {
        let mut samples = Vec::new();
        for _ in 0..changes {
            // Longer than the least interval between two views.
            tokio::time::sleep(Duration::from_millis(60)).await;
            let (begun, seen) = (Instant::now(), readers.seen());
            side.change(0).await;
            let mut times = readers.all_see(seen, 1).await;
            times.sort_unstable();
            let p99 = times[times.len() * 99 / 100];
            samples.push(p99.saturating_duration_since(begun).as_secs_f64() * 1e6);
        }
        median(samples)
    })
}

/// Each session is changed, and all pages have seen it, again and again.
fn many<S: Side>(setting: &Setting, stage: &Stage<S>) -> f64 {
    let (side, readers, length) = (stage.side.clone(), stage.readers.clone(), setting.round());
    setting.run(async move {
        let begun = Instant::now();
        let mut changes = 0;
        while begun.elapsed() < length {
            let seen = readers.seen();
            for session in 0..PAGES {
                side.change(session).await;
            }
            readers.all_see(seen, 1).await;
            changes += PAGES;
        }
        changes as f64 / begun.elapsed().as_secs_f64()
    })
}

/// Bytes of a page, in a process of its own.
pub(super) fn bytes_in_child(side: &str, pages: usize) -> Option<f64> {
    match side {
        Ours::NAME => Some(bytes::<Ours>(pages)),
        Bare::NAME => Some(bytes::<Bare>(pages)),
        _ => None,
    }
}

fn bytes<S: Side>(pages: usize) -> f64 {
    Setting::new(Mode::Full, None).run(async move {
        let side = S::new(pages).await;
        let before = super::fresh::resident_bytes();
        let open = readers::open_quietly(&side, pages).await;
        let after = super::fresh::resident_bytes();
        drop(open);
        after.saturating_sub(before) as f64 / pages as f64
    })
}
