//! The table: figures, ratios and targets.

use std::fmt;

/// Which way a figure is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Operations a second.
    Higher,
    /// Bytes, allocations, pauses.
    Lower,
}

/// What a row promises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The least ratio to the best peer.
    pub ratio: f64,
    /// The most that ours may be, whatever the peers are.
    pub at_most: Option<f64>,
}

impl Target {
    /// A ratio to the best peer and nothing else.
    #[must_use]
    pub const fn ratio(ratio: f64) -> Self {
        Self { ratio, at_most: None }
    }

    fn holds(self, ratio: f64, ours: f64) -> bool {
        ratio >= self.ratio && self.at_most.is_none_or(|most| ours <= most)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ratio >= {}", self.ratio)?;
        match self.at_most {
            Some(most) => write!(f, ", ours <= {most}"),
            None => Ok(()),
        }
    }
}

/// What a row is about.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What the figures count.
    pub unit: &'static str,
    /// Which way is good.
    pub better: Better,
    /// What it promises, if it does.
    pub target: Option<Target>,
}

impl Row {
    /// A row of operations a second.
    #[must_use]
    pub const fn per_second(name: &'static str, unit: &'static str, target: Target) -> Self {
        Self {
            name,
            unit,
            better: Better::Higher,
            target: Some(target),
        }
    }
}

/// What one row found.
#[derive(Debug)]
pub struct Figures {
    row: Row,
    ours: f64,
    peers: Vec<(&'static str, f64)>,
}

impl Figures {
    /// The name and the figure of each side, ours first.
    ///
    /// # Panics
    /// If there is no side at all.
    pub fn new(row: Row, sides: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        let mut sides = sides.into_iter();
        let (_, ours) = sides.next().expect("ours is the first side");
        Self {
            row,
            ours,
            peers: sides.collect(),
        }
    }

    /// The row's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.row.name
    }

    /// Above 1 is better for us.
    fn ratio(&self, theirs: f64) -> f64 {
        match self.row.better {
            Better::Higher => self.ours / theirs,
            Better::Lower => theirs / self.ours,
        }
    }

    /// The peer that is hardest to beat.
    fn best(&self) -> Option<(&'static str, f64)> {
        let by_ratio = |a: &&(_, f64), b: &&(_, f64)| self.ratio(a.1).total_cmp(&self.ratio(b.1));
        self.peers.iter().min_by(by_ratio).copied()
    }

    fn line(&self, peer: &str, theirs: f64) -> String {
        let (Row { name, unit, .. }, ratio) = (self.row, self.ratio(theirs));
        format!(
            "{name}\t{}\t{unit}\t{peer}\t{}\t{ratio:.2}",
            Short(self.ours),
            Short(theirs)
        )
    }
}

/// Collects the rows, printing each as it comes.
#[derive(Debug, Default)]
pub struct Report {
    verdicts: Vec<Verdict>,
}

#[derive(Debug)]
struct Verdict {
    row: Row,
    target: Target,
    ratio: f64,
    ours: f64,
}

impl Report {
    /// Prints the head of the table.
    #[must_use]
    pub fn begin() -> Self {
        println!("# name\tours\tunit\tpeer\ttheirs\tratio (above 1 is better for ours)");
        Self::default()
    }

    /// Prints a row's lines: one for each peer, and where there is a target one more for the best of them.
    pub fn add(&mut self, figures: &Figures) {
        for (peer, theirs) in &figures.peers {
            println!("{}", figures.line(peer, *theirs));
        }
        if let (Some(target), Some((peer, theirs))) = (figures.row.target, figures.best()) {
            println!("{}", figures.line(&format!("best:{peer}"), theirs));
            self.verdicts.push(Verdict {
                row: figures.row,
                target,
                ratio: figures.ratio(theirs),
                ours: figures.ours,
            });
        }
    }

    /// Prints what became of the targets and says whether all hold.
    #[must_use]
    pub fn end(&self) -> bool {
        println!("# targets");
        println!("# name\tours\tunit\tratio\ttarget\tverdict");
        let mut all_hold = true;
        for Verdict {
            row: Row { name, unit, .. },
            target,
            ratio,
            ours,
        } in &self.verdicts
        {
            let holds = target.holds(*ratio, *ours);
            all_hold &= holds;
            let verdict = if holds { "holds" } else { "MISSED" };
            println!("{name}\t{}\t{unit}\t{ratio:.2}\t{target}\t{verdict}", Short(*ours));
        }
        all_hold
    }
}

/// The middle of `samples`.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    assert!(!samples.is_empty(), "no round was run");
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 {
        samples[middle]
    } else {
        f64::midpoint(samples[middle - 1], samples[middle])
    }
}

/// A figure with as many digits as it is worth.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0 < 100.0 { 2 } else { 0 };
        write!(f, "{:.digits$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(better: Better, ours: f64, peers: &[(&'static str, f64)]) -> Figures {
        let row = Row {
            name: "row",
            unit: "ops/s",
            better,
            target: None,
        };
        Figures {
            row,
            ours,
            peers: peers.to_vec(),
        }
    }

    #[test]
    fn the_best_peer_is_the_one_that_is_hardest_to_beat() {
        let speed = figures(Better::Higher, 6.0, &[("slow", 1.0), ("quick", 3.0)]);
        assert_eq!(speed.best(), Some(("quick", 3.0)));
        assert_eq!(speed.line("quick", 3.0), "row\t6.00\tops/s\tquick\t3.00\t2.00");

        let size = figures(Better::Lower, 100.0, &[("big", 900.0), ("small", 300.0)]);
        assert_eq!(size.best(), Some(("small", 300.0)));
        assert_eq!(size.line("small", 300.0), "row\t100\tops/s\tsmall\t300\t3.00");
    }

    #[test]
    fn a_target_can_be_missed_by_its_ratio_or_by_its_limit() {
        let target = Target {
            ratio: 3.0,
            at_most: Some(350.0),
        };
        assert!(target.holds(3.0, 350.0));
        assert!(!target.holds(2.9, 350.0));
        assert!(!target.holds(3.0, 351.0));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), 3.0);
    }
}
