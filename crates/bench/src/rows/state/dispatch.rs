//! A dispatch against a plain handler that makes the same change.

use session_process::{
    Context, Handle, Process,
    redux::{Reducer, Store},
};

use super::{Group, in_turn, round};
use crate::{
    report::{Figures, Row, Target},
    rows::Measure,
    setting::Setting,
};

/// A sum, as a plain process and as a reducer.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum(u64);

impl Process for Sum {}

struct Add(u64);

impl Handle<Add> for Sum {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

impl Reducer for Sum {
    type Action = u64;
    fn reduce(&mut self, n: &u64) {
        self.0 += n;
    }
}

/// Dispatches a second, the history full, against calls of a plain handler.
#[derive(Debug)]
pub(super) struct Dispatch;

const NAME: &str = "dispatch";

impl Measure for Dispatch {
    fn names(&self) -> Vec<&'static str> {
        vec![NAME]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let stores = Group::<Store<Sum>>::gather(setting);
        let plain = Group::<Sum>::gather(setting);
        // The longest way of an action: the oldest step leaves a history that is full.
        let full = stores.clone();
        setting.run(async move {
            for id in full.ids.iter() {
                for n in 0..100u64 {
                    full.sessions.dispatch(id, n).await.expect("nothing refuses it");
                }
            }
        });
        let sides = vec![
            (
                "ours",
                round!(setting, stores, |sessions, id| {
                    sessions.dispatch(id, 1u64).await.expect("nothing refuses it");
                }),
            ),
            (
                "ours_plain_handler",
                round!(setting, plain, |sessions, id| {
                    sessions.call(id, Add(1)).await.expect("it is started");
                }),
            ),
        ];
        let row = Row::per_second(NAME, "dispatches/s", Target::ratio(0.7));
        vec![Figures::new(row, in_turn(NAME, setting, sides))]
    }
}
