//! What subscriptions cost a dispatch, of which only one has something to tell.

use session_process::redux::{Reducer, Store, Subscription};

use super::{Group, in_turn, round};
use crate::{
    report::{Better, Figures, Row, Target},
    rows::Measure,
    setting::Setting,
};

#[derive(Debug, Clone)]
struct Counted {
    count: u64,
    /// Nobody changes it.
    name: String,
}

/// Not an empty name: to compare nothing with nothing took 140 ns here, almost all of it in glibc's `memcmp`, which is
/// most of what would be measured. (Probably its masked AVX-512 load from the address that an empty string has in place
/// of one.)
impl Default for Counted {
    fn default() -> Self {
        Self {
            count: 0,
            name: "Ada Lovelace".to_owned(),
        }
    }
}

impl Reducer for Counted {
    type Action = u64;
    fn reduce(&mut self, n: &u64) {
        self.count += n;
    }
}

/// Dispatches a second with 1, 10 and 100 subscriptions against none, and the cost of one that does not change.
#[derive(Debug)]
pub(super) struct Subscriptions;

const ROWS: [(&str, usize); 3] = [
    ("dispatch_1_subscription", 1),
    ("dispatch_10_subscriptions", 10),
    ("dispatch_100_subscriptions", 100),
];
const UNCHANGED: &str = "subscription_unchanged";
/// What is allowed, in nanoseconds.
const LIMIT: f64 = 60.0;

impl Measure for Subscriptions {
    fn names(&self) -> Vec<&'static str> {
        ROWS.iter().map(|(name, _)| *name).chain([UNCHANGED]).collect()
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let none = Group::<Store<Counted>>::gather(setting);
        let mut sides = vec![(
            "none",
            round!(setting, none, |sessions, id| sessions
                .dispatch(id, 1u64)
                .await
                .expect("nothing refuses it")),
        )];
        // Nobody reads: what is measured is the store's side.
        let mut open: Vec<Vec<Box<dyn Open>>> = Vec::new();
        for (name, subscriptions) in ROWS {
            let group = Group::<Store<Counted>>::gather(setting);
            open.push(subscribe(setting, &group, subscriptions));
            sides.push((
                name,
                round!(setting, group, |sessions, id| sessions
                    .dispatch(id, 1u64)
                    .await
                    .expect("nothing refuses it")),
            ));
        }
        let figures = in_turn("dispatch with subscriptions", setting, sides);
        drop(open);

        let (_, without) = figures[0];
        let mut rows = Vec::new();
        for (name, ours) in &figures[1..] {
            let row = Row {
                name,
                unit: "dispatches/s",
                better: Better::Higher,
                target: None,
            };
            rows.push(Figures::new(row, [("ours", *ours), ("ours_without", without)]));
        }
        let nanos = |figure: usize| 1e9 / figures[figure].1;
        let row = Row {
            name: UNCHANGED,
            unit: "ns",
            better: Better::Lower,
            target: Some(Target {
                ratio: 1.0,
                at_most: Some(LIMIT),
            }),
        };
        let each = (nanos(3) - nanos(1)) / 99.0;
        rows.push(Figures::new(row, [("ours", each), ("limit", LIMIT)]));
        rows
    }
}

/// A subscription of any type, held open.
trait Open: Send {}
impl<T: Send> Open for Subscription<T> {}

/// One that changes with every dispatch, and others that don't: half of them by value, half by reference.
fn subscribe(setting: &Setting, group: &Group<Store<Counted>>, subscriptions: usize) -> Vec<Box<dyn Open>> {
    let group = group.clone();
    setting.run(async move {
        let mut open: Vec<Box<dyn Open>> = Vec::new();
        for id in group.ids.iter() {
            let counts = group.sessions.subscribe(id, |counted| counted.count).await;
            open.push(Box::new(counts.expect("there is room")));
            for nth in 1..subscriptions {
                if nth % 2 == 0 {
                    let names = group.sessions.subscribe_ref(id, |counted| &counted.name).await;
                    open.push(Box::new(names.expect("there is room")));
                } else {
                    let lengths = group.sessions.subscribe(id, |counted| counted.name.len()).await;
                    open.push(Box::new(lengths.expect("there is room")));
                }
            }
        }
        open
    })
}
