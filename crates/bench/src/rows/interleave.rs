//! Rounds in turn: ours, each peer, ours again. What disturbs the machine for a while disturbs everyone.

use super::{Measure, Rounds};
use crate::{
    contender::Contender,
    lineup::{self, Visitor},
    report::{Figures, median},
    setting::Setting,
};

impl<R: Rounds> Measure for R {
    fn names(&self) -> Vec<&'static str> {
        self.rows().iter().map(|row| row.name).collect()
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let mut lanes = lineup::everyone(&mut Lanes { rounds: self, setting });
        let rounds = setting.rounds.unwrap_or_else(|| self.rounds(setting.mode));
        for round in 1..=rounds {
            eprintln!("{}: round {round} of {rounds}", self.names().join(", "));
            for lane in &mut lanes {
                lane.round();
            }
        }

        let sides: Vec<_> = lanes.into_iter().map(|lane| lane.finish()).collect();
        let rows = self.rows().into_iter().enumerate();
        rows.map(|(nth, row)| {
            let of_row = |(side, samples): &(&'static str, Vec<Vec<f64>>)| {
                let samples: Vec<f64> = samples.iter().map(|all| all[nth]).collect();
                tell_spread(row.name, side, &samples);
                (*side, median(samples))
            };
            Figures::new(row, sides.iter().map(of_row))
        })
        .collect()
    }
}

/// A median says nothing of two speeds between which a side goes to and fro, so the samples are shown as well.
fn tell_spread(row: &str, side: &str, samples: &[f64]) {
    let samples: Vec<String> = samples.iter().map(|sample| format!("{sample:.0}")).collect();
    eprintln!("{row}: {side}: {}", samples.join(" "));
}

/// One side on its stage, whichever side it is. Dynamic only here, once a round.
trait AnyLane {
    fn round(&mut self);
    fn finish(self: Box<Self>) -> (&'static str, Vec<Vec<f64>>);
}

struct Lane<'a, R: Rounds, C: Contender> {
    rounds: &'a R,
    setting: &'a Setting,
    stage: R::Stage<C>,
    samples: Vec<Vec<f64>>,
}

impl<R: Rounds, C: Contender> AnyLane for Lane<'_, R, C> {
    fn round(&mut self) {
        self.samples.push(self.rounds.round(self.setting, &self.stage));
    }

    fn finish(self: Box<Self>) -> (&'static str, Vec<Vec<f64>>) {
        self.rounds.finish(self.setting, self.stage);
        (C::NAME, self.samples)
    }
}

struct Lanes<'a, R> {
    rounds: &'a R,
    setting: &'a Setting,
}

impl<'a, R: Rounds> Visitor for Lanes<'a, R> {
    type Output = Box<dyn AnyLane + 'a>;

    fn visit<C: Contender>(&mut self) -> Self::Output {
        Box::new(Lane::<R, C> {
            rounds: self.rounds,
            setting: self.setting,
            stage: self.rounds.prepare(self.setting),
            samples: Vec::new(),
        })
    }
}
