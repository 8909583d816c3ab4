//! Allocations of one call: for information, without a target.

use std::process::Command;

use super::{Measure, crowd::Crowd};
use crate::{
    child,
    contender::Contender,
    lineup::{self, Visitor},
    report::{Better, Figures, Row},
    setting::Setting,
};

/// The row, for which there is a second binary: a counting allocator would slow the timed rows.
#[derive(Debug)]
pub struct Allocations;

const NAME: &str = "alloc_call_1";

impl Measure for Allocations {
    fn names(&self) -> Vec<&'static str> {
        vec![NAME]
    }

    fn measure(&self, _: &Setting) -> Vec<Figures> {
        eprintln!("{NAME}");
        let Some(binary) = child::sibling("allocations") else {
            eprintln!("{NAME}: left out, `cargo build --release -p bench` makes its binary");
            return Vec::new();
        };
        let printed = child::output(&mut Command::new(binary));
        let figures = printed
            .lines()
            .map(|line| line.parse().expect("a number for each side"));
        let row = Row {
            name: NAME,
            unit: "allocations",
            better: Better::Lower,
            target: None,
        };
        vec![Figures::new(row, lineup::names().into_iter().zip(figures))]
    }
}

/// Allocations of a call on each side, ours first. `allocated` says how many there were so far, in all threads.
pub fn count(setting: &Setting, allocated: fn() -> usize) -> Vec<f64> {
    lineup::everyone(&mut Count { setting, allocated })
}

struct Count<'a> {
    setting: &'a Setting,
    allocated: fn() -> usize,
}

impl Visitor for Count<'_> {
    type Output = f64;

    fn visit<C: Contender>(&mut self) -> f64 {
        /// Each session is called this often: channels that allocate in blocks (tokio's: 32 messages) come round.
        const LAPS: usize = 32;
        let crowd = Crowd::<C>::gather(self.setting, 1_000);
        let (counted, allocated) = (crowd.clone(), self.allocated);
        let allocations = self.setting.run(async move {
            let calls = LAPS * counted.ids.len();
            counted.settle().await;
            let before = allocated();
            for id in counted.round_trip(0, 1).take(calls) {
                counted.system.call(id, 0).await;
            }
            (allocated() - before) as f64 / calls as f64
        });
        crowd.disperse(self.setting);
        allocations
    }
}
