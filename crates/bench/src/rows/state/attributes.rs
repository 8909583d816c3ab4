//! Attributes, which go through serde, against fields of a plain process.

use session_process::{Attributes, Context, Handle, Process};

use super::{Group, in_turn, round};
use crate::{
    report::{Better, Figures, Row},
    rows::Measure,
    setting::Setting,
};

#[derive(Debug, Default)]
struct Plain {
    count: u64,
}

impl Process for Plain {}

struct Get;

impl Handle<Get> for Plain {
    type Reply = u64;
    async fn handle(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        self.count
    }
}

struct Set(u64);

impl Handle<Set> for Plain {
    type Reply = ();
    async fn handle(&mut self, Set(count): Set, _: &mut Context<Self>) {
        self.count = count;
    }
}

/// Reads and writes a second of one number among ten attributes. For information, without a target.
#[derive(Debug)]
pub(super) struct Access;

const GET: &str = "attributes_get";
const INSERT: &str = "attributes_insert";

impl Measure for Access {
    fn names(&self) -> Vec<&'static str> {
        vec![GET, INSERT]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let group = Group::<Attributes>::gather(setting);
        let plain = Group::<Plain>::gather(setting);
        let filled = group.clone();
        setting.run(async move {
            for id in filled.ids.iter() {
                for nth in 0..9 {
                    let insert = filled.sessions.insert(id, format!("key_{nth}"), nth);
                    insert.await.expect("within all limits");
                }
                filled
                    .sessions
                    .insert(id, "count", 0u64)
                    .await
                    .expect("within all limits");
            }
        });
        let get = vec![
            (
                "ours",
                round!(setting, group, |sessions, id| {
                    let count = sessions.get::<u64>(id, "count").await;
                    assert!(count.expect("a number").is_some());
                }),
            ),
            (
                "ours_plain_handler",
                round!(setting, plain, |sessions, id| {
                    sessions.call(id, Get).await.expect("it is started");
                }),
            ),
        ];
        let get = in_turn(GET, setting, get);
        let insert = vec![
            (
                "ours",
                round!(setting, group, |sessions, id| {
                    sessions.insert(id, "count", 7u64).await.expect("within all limits");
                }),
            ),
            (
                "ours_plain_handler",
                round!(setting, plain, |sessions, id| {
                    sessions.call(id, Set(7)).await.expect("it is started");
                }),
            ),
        ];
        let insert = in_turn(INSERT, setting, insert);
        let row = |name| Row {
            name,
            unit: "ops/s",
            better: Better::Higher,
            target: None,
        };
        vec![Figures::new(row(GET), get), Figures::new(row(INSERT), insert)]
    }
}
