//! What write-behind costs a call.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use session_process::{Context, Durability, Handle, Init, Process, Schema, SessionId, Sessions};

use super::Scratch;
use crate::{
    report::{Figures, Row, Target, median},
    rows::Measure,
    setting::Setting,
};

const SESSIONS: usize = 1_000;

/// One caller changes a thousand sessions in turn: written to a SQLite file within a second, against volatile ones.
#[derive(Debug)]
pub struct WriteBehind;

macro_rules! sum {
    ($name:ident, $durability:expr) => {
        #[derive(Debug, Default)]
        struct $name(u64);

        impl Process for $name {
            const DURABILITY: Durability<Self> = $durability;
        }

        impl Handle<Add> for $name {
            type Reply = u64;
            async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
                self.0 += n;
                self.0
            }
        }
    };
}

struct Add(u64);

sum!(Volatile, Durability::VOLATILE);
sum!(
    Behind,
    Durability::write_behind(
        Schema::with(
            "sum",
            1,
            |sum: &Self| Ok(sum.0.to_le_bytes().to_vec()),
            |bytes| Ok(Self(u64::from_le_bytes(bytes.try_into()?))),
        ),
        Duration::from_secs(1)
    )
);

impl Measure for WriteBehind {
    fn names(&self) -> Vec<&'static str> {
        vec!["call_write_behind"]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let scratch = Scratch::new("behind");
        let ids = super::ids(SESSIONS);
        let (behind, volatile) = setting.run({
            let ids = Arc::clone(&ids);
            async move {
                let behind = Sessions::<Behind>::builder().records(super::records(&scratch).await);
                let behind = started(behind.build().expect("a runtime"), &ids).await;
                let volatile = Sessions::<Volatile>::builder().build().expect("a runtime");
                ((behind, scratch), started(volatile, &ids).await)
            }
        });
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(3, 9));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(round(setting, &behind.0, &ids));
            theirs.push(round(setting, &volatile, &ids));
        }
        setting.run(async move {
            let report = behind.0.shutdown(Duration::from_secs(60)).await;
            assert!(report.cut.is_empty(), "what was left could not be saved");
        });
        let row = Row::per_second("call_write_behind", "calls/s", Target::ratio(0.6));
        vec![Figures::new(
            row,
            [("ours", median(ours)), ("volatile", median(theirs))],
        )]
    }
}

async fn started<P: Process + Init>(sessions: Sessions<P>, ids: &[SessionId]) -> Sessions<P> {
    for id in ids {
        sessions.start(id).await.expect("there is room");
    }
    sessions
}

fn round<P: Handle<Add, Reply = u64>>(setting: &Setting, sessions: &Sessions<P>, ids: &Arc<[SessionId]>) -> f64 {
    // Over a second in full, so that each round has its share of writes.
    let length = setting.mode.pick(setting.round(), Duration::from_millis(1_500));
    let (sessions, ids) = (sessions.clone(), Arc::clone(ids));
    setting.run(async move {
        let begin = Instant::now();
        let mut calls = 0u64;
        let mut ids = ids.iter().cycle();
        while begin.elapsed() < length {
            for id in ids.by_ref().take(64) {
                black_box(sessions.call(id, Add(1)).await.expect("it is started"));
            }
            calls += 64;
        }
        calls as f64 / begin.elapsed().as_secs_f64()
    })
}
