//! The styles of state beside each other: ours against ours without. One caller goes round a thousand sessions.

mod attributes;
mod dispatch;
mod select;
mod subscriptions;

use std::sync::Arc;

use session_process::{Init, Process, SessionId, Sessions};

use super::Measure;
use crate::{ids::IdSource, report::median, setting::Setting};

pub(super) fn all() -> [Box<dyn Measure>; 4] {
    [
        Box::new(dispatch::Dispatch),
        Box::new(subscriptions::Subscriptions),
        Box::new(select::Select),
        Box::new(attributes::Access),
    ]
}

/// A hundred actions each are 3 KB, so these don't stay in the cache: a dispatch waits for the memory of its history.
const SESSIONS: usize = 1_000;

/// A round of one side: operations a second.
type Round<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Rounds of all sides, in turn; the median of each side, in their order.
fn in_turn(name: &str, setting: &Setting, mut sides: Vec<(&'static str, Round<'_>)>) -> Vec<(&'static str, f64)> {
    let rounds = setting.rounds.unwrap_or(setting.mode.pick(5, 15));
    let mut samples = vec![Vec::new(); sides.len()];
    for round in 1..=rounds {
        eprintln!("{name}: round {round} of {rounds}");
        for ((_, side), samples) in sides.iter_mut().zip(&mut samples) {
            samples.push(side());
        }
    }
    sides
        .iter()
        .zip(samples)
        .map(|((name, _), samples)| (*name, median(samples)))
        .collect()
}

/// Sessions of one type.
struct Group<P> {
    sessions: Sessions<P>,
    ids: Arc<[SessionId]>,
}

impl<P> Clone for Group<P> {
    fn clone(&self) -> Self {
        let (sessions, ids) = (self.sessions.clone(), Arc::clone(&self.ids));
        Self { sessions, ids }
    }
}

impl<P: Process + Init> Group<P> {
    fn gather(setting: &Setting) -> Self {
        setting.run(async {
            let sessions = Sessions::<P>::builder().build().expect("a runtime and no zeros");
            let parse = |text: String| text.parse().expect("32 characters of the alphabet");
            let ids: Vec<SessionId> = IdSource::new(1).take(SESSIONS, parse);
            for id in &ids {
                sessions.start(id).await.expect("there is room");
            }
            Self {
                sessions,
                ids: ids.into(),
            }
        })
    }
}

/// A [`Round`] of a [`Group`]: how often a second `$operation` is done, with each session in turn. A macro, so that
/// nothing is cloned or boxed for an operation: that would hide what is compared.
macro_rules! round {
    ($setting:expr, $group:expr, |$sessions:ident, $id:ident| $operation:expr) => {{
        let (setting, group): (&Setting, _) = ($setting, $group.clone());
        Box::new(move || {
            let (group, length) = (group.clone(), setting.round());
            setting.run(async move {
                let $sessions = &group.sessions;
                let mut ids = group.ids.iter().cycle();
                let (begin, mut done) = (std::time::Instant::now(), 0usize);
                while begin.elapsed() < length {
                    for $id in ids.by_ref().take(super::STRIDE) {
                        $operation;
                    }
                    done += super::STRIDE;
                }
                done as f64 / begin.elapsed().as_secs_f64()
            })
        }) as super::Round<'_>
    }};
}
use round;

/// Operations between two looks at the clock.
const STRIDE: usize = 64;
