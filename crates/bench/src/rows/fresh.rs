//! Rows for which each figure is taken in a process of its own, one process at a time: memory.
//!
//! What one side has freed can't be told from what the next one finds. A million sessions are started in such
//! processes too: the heap that a side leaves behind, gigabytes in pieces, decided on the speed of the next one. In
//! a fresh process everyone pays the kernel for new pages, and those with large sessions pay more.

use std::fs;

use super::{Life, Measure, Rounds};
use crate::{
    child,
    contender::Contender,
    ids::IdSource,
    lineup::{self, Visitor},
    report::{Better, Figures, Row, Target, median},
    setting::{Mode, Setting},
};

/// A number of sessions, measured in fresh processes.
#[derive(Debug)]
pub struct Fresh {
    row: Row,
    what: &'static str,
    sessions: usize,
    rounds: usize,
}

/// Resident bytes of an idle session, its id and its entry in the registry included.
const IDLE_BYTES: &str = "idle-bytes";
/// Sessions started a second.
const START: &str = "start";

impl Fresh {
    /// The memory of a busy site.
    pub const IDLE_HUNDRED_THOUSAND: Self = Self::idle("idle_bytes_100k", 100_000, None);
    /// The memory of a big one; the heavier peers need about 7 GB.
    pub const IDLE_MILLION: Self = Self::idle("idle_bytes_1m", 1_000_000, Some(350.0));
    /// The start of a big one.
    pub const START_MILLION: Self = Self {
        row: Row::per_second("start_1m", "sessions/s", Target::ratio(3.0)),
        what: START,
        sessions: 1_000_000,
        rounds: 3,
    };

    const fn idle(name: &'static str, sessions: usize, at_most: Option<f64>) -> Self {
        let row = Row {
            name,
            unit: "bytes",
            better: Better::Lower,
            target: Some(Target { ratio: 3.0, at_most }),
        };
        // Memory repeats itself within a percent.
        Self {
            row,
            what: IDLE_BYTES,
            sessions,
            rounds: 1,
        }
    }
}

impl Measure for Fresh {
    fn names(&self) -> Vec<&'static str> {
        vec![self.row.name]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let rounds = setting.rounds.unwrap_or(self.rounds);
        let sessions = self.sessions.to_string();
        let mut sides: Vec<_> = lineup::names().into_iter().map(|side| (side, Vec::new())).collect();
        for round in 1..=rounds {
            for (side, samples) in &mut sides {
                eprintln!("{}: round {round} of {rounds}, {side}", self.row.name);
                samples.push(child::measure(&[self.what, side, &sessions]));
            }
        }
        let medians = sides.into_iter().map(|(side, samples)| (side, median(samples)));
        vec![Figures::new(self.row, medians)]
    }
}

/// The child's part: measures what its arguments say and prints it.
///
/// # Errors
/// Arguments that make no sense are given back.
pub fn measure_in_child(args: &[&str]) -> Result<(), String> {
    let figure = match args {
        [super::LivePages::IN_CHILD, side, pages] => pages
            .parse()
            .ok()
            .and_then(|pages| super::pages::bytes_in_child(side, pages)),
        [what, side, sessions] => sessions.parse().ok().and_then(|sessions| match *what {
            IDLE_BYTES => lineup::named(side, &mut Idle { sessions }),
            START => lineup::named(side, &mut Started { sessions }),
            _ => None,
        }),
        _ => None,
    };
    println!("{}", figure.ok_or_else(|| format!("can't measure {}", args.join(" ")))?);
    Ok(())
}

struct Idle {
    sessions: usize,
}

impl Visitor for Idle {
    type Output = f64;

    fn visit<C: Contender>(&mut self) -> f64 {
        let sessions = self.sessions;
        Setting::new(Mode::Full, None).run(async move {
            let system = C::new().await;
            let mut source = IdSource::new(5);
            let before = resident_bytes();
            for _ in 0..sessions {
                // Made and dropped one at a time: what remains of an id is what the registry keeps.
                system.start(&C::id(source.next_id())).await;
            }
            system.usable(sessions).await;
            let after = resident_bytes();
            assert_eq!(system.len(), sessions);
            after.saturating_sub(before) as f64 / sessions as f64
        })
    }
}

/// What this process has in memory now.
pub(super) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux with /proc");
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
    let kib: u64 = resident.and_then(|kib| kib.trim().parse().ok()).expect("VmRSS in kB");
    kib * 1024
}

struct Started {
    sessions: usize,
}

impl Visitor for Started {
    type Output = f64;

    fn visit<C: Contender>(&mut self) -> f64 {
        let setting = Setting::new(Mode::Full, None);
        let life = Life {
            sessions: self.sessions,
        };
        life.round::<C>(&setting, &life.prepare::<C>(&setting))[0]
    }
}
