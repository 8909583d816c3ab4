//! Reading a part of a state against reading a copy of it.

use session_process::redux::{Reducer, Store};

use super::{Group, in_turn, round};
use crate::{
    report::{Figures, Row, Target},
    rows::Measure,
    setting::Setting,
};

/// A state like that of a visitor: some dozens of texts.
#[derive(Debug, Clone)]
struct Visitor {
    items: Vec<String>,
}

impl Default for Visitor {
    fn default() -> Self {
        Self {
            items: (0..50).map(|n| format!("item number {n}")).collect(),
        }
    }
}

impl Reducer for Visitor {
    type Action = String;
    fn reduce(&mut self, item: &String) {
        self.items.push(item.clone());
    }
}

/// Selections a second against copies a second.
#[derive(Debug)]
pub(super) struct Select;

const NAME: &str = "select";

impl Measure for Select {
    fn names(&self) -> Vec<&'static str> {
        vec![NAME]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let group = Group::<Store<Visitor>>::gather(setting);
        let sides = vec![
            (
                "ours",
                round!(setting, group, |sessions, id| {
                    let count = sessions.select(id, |visitor| visitor.items.len()).await;
                    assert_eq!(count.expect("it is started"), 50);
                }),
            ),
            (
                "ours_cloning_the_state",
                round!(setting, group, |sessions, id| {
                    let visitor = sessions.state(id).await;
                    assert_eq!(visitor.expect("it is started").items.len(), 50);
                }),
            ),
        ];
        let row = Row::per_second(NAME, "selections/s", Target::ratio(1.0));
        vec![Figures::new(row, in_turn(NAME, setting, sides))]
    }
}
