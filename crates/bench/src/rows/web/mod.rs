//! The cookie layer in front of a route: requests over connections of the loopback that are kept open, 64 at a time.
//!
//! Client and server share the runtime, so the client's work is in the figures of all sides alike.

mod client;
mod sides;

use std::time::Duration;

use self::{
    client::Crowd,
    sides::{Bare, Idle, Nothing, Ours, Read, Tower, WebSide},
};
use crate::{
    report::{Better, Figures, Row, Target, median},
    rows::Measure,
    setting::Setting,
};

/// Connections, each a browser with a session of its own.
const BROWSERS: usize = 64;

/// A row: what ours does, beside what a peer does.
#[derive(Debug, Clone, Copy)]
pub struct Web {
    name: &'static str,
    target: Option<f64>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Nothing,
    Idle,
    Read,
    Counter,
}

impl Web {
    /// The rows.
    pub const ALL: [Self; 4] = [
        // A layer that does nothing, against none: how much of the next row is axum's.
        Self {
            name: "layer_nothing",
            target: None,
            kind: Kind::Nothing,
        },
        // A route that leaves its session alone, against no layer.
        Self {
            name: "layer_idle",
            target: Some(0.95),
            kind: Kind::Idle,
        },
        // A route that calls its session's process, against no session.
        Self {
            name: "layer_read",
            target: Some(0.85),
            kind: Kind::Read,
        },
        // A counter on a live process, against tower-sessions' memory store.
        Self {
            name: "layer_memory_peer",
            target: Some(1.0),
            kind: Kind::Counter,
        },
    ];

    fn between<A: WebSide, B: WebSide>(&self, setting: &Setting) -> Vec<Figures> {
        let length = setting.mode.pick(Duration::from_millis(150), Duration::from_secs(1));
        let (ours, theirs) = (prepare::<A>(setting), prepare::<B>(setting));
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(5, 11));
        let mut samples = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            samples.0.push(ours.round(setting, length));
            samples.1.push(theirs.round(setting, length));
        }
        let row = Row {
            name: self.name,
            unit: "requests/s",
            better: Better::Higher,
            target: self.target.map(Target::ratio),
        };
        vec![Figures::new(
            row,
            [(A::NAME, median(samples.0)), (B::NAME, median(samples.1))],
        )]
    }
}

fn prepare<S: WebSide>(setting: &Setting) -> Crowd {
    setting.run(async {
        let crowd = Crowd::connect(S::router(), BROWSERS).await;
        // The first request has a cookie set, where there are any; and warms up.
        crowd.each_once().await;
        crowd.each_once().await;
        crowd
    })
}

impl Measure for Web {
    fn names(&self) -> Vec<&'static str> {
        vec![self.name]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        match self.kind {
            Kind::Nothing => self.between::<Nothing, Bare>(setting),
            Kind::Idle => self.between::<Idle, Bare>(setting),
            Kind::Read => self.between::<Read, Bare>(setting),
            Kind::Counter => self.between::<Ours, Tower>(setting),
        }
    }
}
