//! Random histories, beside a model that is simple enough to be believed.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use session_process::store::{
    Change, Changed, Conflict, Create, Edit, Expect, Op, OwnerLimit, OwnerLimitPolicy, SessionKey, Touch, Version,
};

use super::{
    StoreUnderTest,
    fixture::{Store, attributes, create, edit, idle, keys, owner, with_attributes},
};

/// Keys and users in one history: few, so that they meet.
const KEYS: usize = 4;
/// Time goes in steps of this; the idle timeout lies between two of them, so a margin is left for real clocks.
const STEP: Duration = Duration::from_secs(20);
const IDLE_STEPS: u64 = 3;
const IDLE: Duration = Duration::from_secs(50);

#[derive(Debug, Clone)]
enum Step {
    Create {
        key: usize,
        user: Option<u8>,
        idle: bool,
        limit: Option<(u32, OwnerLimitPolicy)>,
    },
    Edit {
        key: usize,
        expect: Expected,
        user: Option<Option<u8>>,
        accessed: bool,
    },
    Rotate {
        from: usize,
        to: usize,
    },
    Delete {
        key: usize,
        expect: Expected,
    },
    Touch {
        key: usize,
        steps_ago: u64,
    },
    Sweep {
        limit: usize,
    },
    Advance,
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Anything,
    Current,
    Old,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    let user = prop::option::of(0..2_u8);
    let policy = prop_oneof![Just(OwnerLimitPolicy::Reject), Just(OwnerLimitPolicy::EvictOldest)];
    let limit = prop::option::of((1..3_u32, policy));
    let expect = prop_oneof![Just(Expected::Anything), Just(Expected::Current), Just(Expected::Old)];
    prop_oneof![
        4 => (key.clone(), user.clone(), any::<bool>(), limit)
            .prop_map(|(key, user, idle, limit)| Step::Create { key, user, idle, limit }),
        4 => (key.clone(), expect.clone(), prop::option::of(user), any::<bool>())
            .prop_map(|(key, expect, user, accessed)| Step::Edit { key, expect, user, accessed }),
        1 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Rotate { from, to }),
        1 => (key.clone(), expect).prop_map(|(key, expect)| Step::Delete { key, expect }),
        2 => (key, 0..3_u64).prop_map(|(key, steps_ago)| Step::Touch { key, steps_ago }),
        1 => (0..3_usize).prop_map(|limit| Step::Sweep { limit }),
        3 => Just(Step::Advance),
    ]
}

/// A record of the model. Times are counts of steps.
#[derive(Debug, Clone)]
struct Entry {
    version: Version,
    user: Option<u8>,
    accessed: u64,
    idle: bool,
    count: u64,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    writes: u64,
    entries: BTreeMap<usize, Entry>,
    highest: BTreeMap<usize, Version>,
}

impl Model {
    fn expire(&mut self) {
        let now = self.now;
        self.entries
            .retain(|_, entry| !entry.idle || now - entry.accessed < IDLE_STEPS);
    }

    /// What the store must answer to a change of `key`: nothing is said where it must do it.
    fn conflict(&self, key: usize, expect: Expect) -> Option<&'static str> {
        match self.entries.get(&key) {
            None => Some("missing"),
            Some(entry) if expect.version.is_some_and(|version| version != entry.version) => Some("version"),
            Some(_) => None,
        }
    }

    fn expect(&self, key: usize, expected: Expected) -> Expect {
        let current = self.entries.get(&key).map_or(Version(1), |entry| entry.version);
        let version = match expected {
            Expected::Anything => None,
            Expected::Current => Some(current),
            Expected::Old => Some(Version(current.0.saturating_sub(1))),
        };
        Expect { version, epoch: None }
    }

    fn others(&self, user: u8, key: usize) -> Vec<usize> {
        let others = self
            .entries
            .iter()
            .filter(|(other, entry)| entry.user == Some(user) && **other != key);
        others.map(|(other, _)| *other).collect()
    }
}

struct History<'a, S> {
    under: &'a S,
    store: Store,
    keys: Vec<SessionKey>,
    /// Other histories are in the same store.
    tag: String,
    model: Model,
}

pub async fn any_history_ends_as_the_model_says(under: impl StoreUnderTest) {
    let run = move || {
        let runtime = tokio::runtime::Handle::current();
        let config = Config {
            cases: 48,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config)
            .run(&prop::collection::vec(step(), 1..60), |steps| {
                let keys = keys(KEYS);
                let mut history = History {
                    under: &under,
                    store: under.store(),
                    tag: format!("{:?} ", keys[0]),
                    keys,
                    model: Model::default(),
                };
                steps.iter().try_for_each(|step| {
                    runtime.block_on(history.take(step))?;
                    runtime.block_on(history.compare())
                })
            })
            .unwrap_or_else(|failure| panic!("{failure}"));
    };
    tokio::task::spawn_blocking(run)
        .await
        .expect("a history went another way than the model");
}

impl<S: StoreUnderTest> History<'_, S> {
    fn user(&self, user: u8) -> session_process::store::OwnerText {
        owner(&format!("{}{user}", self.tag))
    }

    async fn commit(&self, key: usize, expect: Expect, op: Op) -> Result<Changed, Conflict> {
        let change = Change {
            key: self.keys[key],
            expect,
            op,
        };
        self.store
            .commit(vec![change])
            .await
            .expect("the store works")
            .remove(0)
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step.clone() {
            Step::Create { key, user, idle, limit } => self.create(key, user, idle, limit).await,
            Step::Edit {
                key,
                expect,
                user,
                accessed,
            } => self.edit(key, expect, user, accessed).await,
            Step::Rotate { from, to } => {
                let outcome = self.commit(from, Expect::default(), Op::Rotate(self.keys[to])).await;
                let taken = self.model.entries.contains_key(&to).then_some("exists");
                let expected = self.model.conflict(from, Expect::default()).or(taken);
                if let Some(changed) = agree(outcome, expected)? {
                    let mut entry = self.model.entries.remove(&from).expect("it was there");
                    entry.version = changed.version;
                    self.put(to, entry)?;
                }
                Ok(())
            }
            Step::Delete { key, expect } => {
                let expect = self.model.expect(key, expect);
                let outcome = self.commit(key, expect, Op::Delete).await;
                if let Some(changed) = agree(outcome, self.model.conflict(key, expect))? {
                    let entry = self.model.entries.remove(&key).expect("it was there");
                    prop_assert_eq!(changed.version, entry.version);
                }
                Ok(())
            }
            Step::Touch { key, steps_ago } => {
                let steps = steps_ago.min(self.model.now);
                let ago = STEP * u32::try_from(steps).expect("few");
                let micros = i64::try_from(ago.as_micros()).expect("few");
                let at = session_process::Timestamp::from_micros(self.store.now().as_micros() - micros);
                let touch = Touch {
                    key: self.keys[key],
                    accessed_at: at,
                };
                self.store.touch(vec![touch]).await.expect("the store works");
                if let Some(entry) = self.model.entries.get_mut(&key) {
                    entry.accessed = entry.accessed.max(self.model.now - steps);
                }
                Ok(())
            }
            Step::Sweep { limit } => {
                let removed = self.store.delete_expired(limit).await.expect("the store works");
                prop_assert!(removed.len() <= limit);
                for removed in removed {
                    let ours = self.keys.iter().position(|key| *key == removed.key);
                    prop_assert!(
                        ours.is_none_or(|key| !self.model.entries.contains_key(&key)),
                        "a live one went"
                    );
                }
                Ok(())
            }
            Step::Advance => {
                self.under.advance(STEP);
                self.model.now += 1;
                self.model.expire();
                Ok(())
            }
        }
    }

    async fn create(
        &mut self,
        key: usize,
        user: Option<u8>,
        may_idle: bool,
        limit: Option<(u32, OwnerLimitPolicy)>,
    ) -> Result<(), TestCaseError> {
        self.model.writes += 1;
        let count = self.model.writes;
        let new = Create {
            user_id: user.map(|user| self.user(user)),
            lifetime: if may_idle { idle(IDLE) } else { Default::default() },
            attributes: attributes(&[("count", &count.to_string())]),
            limit: limit.and_then(|(max, policy)| NonZeroU32::new(max).map(|max| OwnerLimit { max, policy })),
            ..Create::default()
        };
        let others = user.map(|user| self.model.others(user, key)).unwrap_or_default();
        let too_many = limit.map_or(0, |(max, _)| (others.len() + 1).saturating_sub(max as usize));
        let refuses = limit.is_some_and(|(_, policy)| policy == OwnerLimitPolicy::Reject);
        let expected = if self.model.entries.contains_key(&key) {
            Some("exists")
        } else {
            (too_many > 0 && refuses).then_some("limit")
        };
        let outcome = self.commit(key, Expect::default(), create(new)).await;
        let Some(changed) = agree(outcome, expected)? else {
            return Ok(());
        };
        prop_assert_eq!(changed.evicted.len(), too_many);
        self.evict(&changed, &others)?;
        let entry = Entry {
            version: changed.version,
            user,
            accessed: self.model.now,
            idle: may_idle,
            count,
        };
        self.put(key, entry)
    }

    /// Those that made room are among the others, and none that stays was used longer ago.
    fn evict(&mut self, changed: &Changed, others: &[usize]) -> Result<(), TestCaseError> {
        let gone: Vec<usize> = changed
            .evicted
            .iter()
            .filter_map(|removed| self.keys.iter().position(|key| *key == removed.key))
            .collect();
        let accessed = |key: &usize| self.model.entries[key].accessed;
        prop_assert!(gone.iter().all(|key| others.contains(key)));
        let last_gone = gone.iter().map(accessed).max();
        let first_kept = others.iter().filter(|key| !gone.contains(key)).map(accessed).min();
        if let (Some(last_gone), Some(first_kept)) = (last_gone, first_kept) {
            prop_assert!(last_gone <= first_kept);
        }
        for key in gone {
            self.model.entries.remove(&key);
        }
        Ok(())
    }

    async fn edit(
        &mut self,
        key: usize,
        expected: Expected,
        user: Option<Option<u8>>,
        accessed: bool,
    ) -> Result<(), TestCaseError> {
        self.model.writes += 1;
        let count = self.model.writes;
        let expect = self.model.expect(key, expected);
        let new = Edit {
            user_id: user.map(|user| user.map(|user| self.user(user))),
            accessed_at: accessed.then(|| self.store.now()),
            ..with_attributes(&[("count", &count.to_string())])
        };
        let outcome = self.commit(key, expect, edit(new)).await;
        let Some(changed) = agree(outcome, self.model.conflict(key, expect))? else {
            return Ok(());
        };
        let mut entry = self.model.entries.remove(&key).expect("it was there");
        entry.user = user.unwrap_or(entry.user);
        entry.accessed = if accessed { self.model.now } else { entry.accessed };
        entry.count = count;
        entry.version = changed.version;
        self.put(key, entry)
    }

    fn put(&mut self, key: usize, entry: Entry) -> Result<(), TestCaseError> {
        let before = self.model.highest.insert(key, entry.version);
        prop_assert!(
            before.is_none_or(|before| before < entry.version),
            "a version came twice"
        );
        self.model.entries.insert(key, entry);
        Ok(())
    }

    async fn compare(&self) -> Result<(), TestCaseError> {
        let records = self.store.load(&self.keys).await.expect("the store works");
        for (key, record) in records.iter().enumerate() {
            let entry = self.model.entries.get(&key);
            prop_assert_eq!(record.is_some(), entry.is_some(), "the record {} is there or not", key);
            let (Some(record), Some(entry)) = (record, entry) else {
                continue;
            };
            prop_assert_eq!(record.version, entry.version);
            prop_assert_eq!(&record.user_id, &entry.user.map(|user| self.user(user)));
            prop_assert_eq!(&*record.attributes["count"].json, entry.count.to_string());
        }
        for user in 0..2 {
            let owner = session_process::store::Owner::User(self.user(user));
            let listed = self.store.list(&owner, None, KEYS + 1).await.expect("the store works");
            let mut expected: Vec<_> = self
                .model
                .others(user, KEYS)
                .iter()
                .map(|key| self.keys[*key])
                .collect();
            expected.sort();
            prop_assert_eq!(listed.iter().map(|record| record.key).collect::<Vec<_>>(), expected);
        }
        Ok(())
    }
}

/// The store did what the model expects: `Some` if that is a change.
fn agree(outcome: Result<Changed, Conflict>, expected: Option<&str>) -> Result<Option<Changed>, TestCaseError> {
    let conflict = outcome.as_ref().err().map(|conflict| match conflict {
        Conflict::Missing => "missing",
        Conflict::Exists => "exists",
        Conflict::Version { .. } => "version",
        Conflict::Epoch { .. } => "epoch",
        Conflict::OwnerLimit { .. } => "limit",
        _ => "another",
    });
    prop_assert_eq!(conflict, expected);
    Ok(outcome.ok())
}
