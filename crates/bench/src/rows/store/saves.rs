//! Acknowledged saves a second into one SQLite file, each durable when it is acknowledged.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use session_process::store::{
    Attribute, AttributeMap, Change, Create, Edit, Expect, Op, SessionKey, SessionStore, Snapshot, Version,
};
use session_process_sqlite::SqliteStore;

use super::baseline::Baseline;
use crate::{
    ids::IdSource,
    report::{Figures, Row, Target, median},
    rows::Measure,
    setting::Setting,
};

/// A session's state changes and is saved under its expected version, with its access time. Each caller saves a session
/// of its own again and again, as a process does.
#[derive(Debug)]
pub struct SqliteSave {
    name: &'static str,
    callers: usize,
    target: f64,
}

/// About what a cart is.
const STATE: usize = 256;
const ATTRIBUTES: &str = r#"{"theme":"dark","language":"de","seen":[1,2,3,4,5,6,7,8]}"#;

impl SqliteSave {
    /// One caller: what the way to the writer's thread and back costs.
    pub const ONE: Self = Self {
        name: "sqlite_save_1",
        callers: 1,
        target: 0.8,
    };
    /// A busy site.
    pub const SIXTY_FOUR: Self = Self {
        name: "sqlite_save_64",
        callers: 64,
        target: 5.0,
    };
    /// A very busy one.
    pub const MANY: Self = Self {
        name: "sqlite_save_512",
        callers: 512,
        target: 10.0,
    };
}

impl Measure for SqliteSave {
    fn names(&self) -> Vec<&'static str> {
        vec![self.name]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let directory = Scratch::new(self.name);
        let keys: Vec<SessionKey> = IdSource::new(2).take(self.callers, |text| {
            SessionKey::of(&text.parse().expect("32 characters of the alphabet"))
        });
        let bytes = keys.iter().map(|key| *key.as_bytes()).collect();
        let state = vec![7; STATE];
        let mut theirs = Baseline::open(&directory.0.join("theirs.db"), bytes, ATTRIBUTES, &state);
        let ours = setting.run(Saver::open(directory.0.join("ours.db"), keys, self.callers));
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(3, 9));
        let length = setting.round();
        let (mut our_samples, mut their_samples) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let round = Arc::clone(&ours);
            our_samples.push(setting.run(async move { round.round(length).await }));
            their_samples.push(theirs.round(length, &state));
        }
        setting.run(async move { ours.store.shutdown().await });
        let row = Row::per_second(self.name, "saves/s", Target::ratio(self.target));
        vec![Figures::new(
            row,
            [("ours", median(our_samples)), ("rusqlite", median(their_samples))],
        )]
    }
}

/// Our side: the store, and who saves what.
struct Saver {
    store: SqliteStore,
    keys: Vec<SessionKey>,
    callers: usize,
    versions: Vec<std::sync::Mutex<Vec<Version>>>,
}

impl Saver {
    async fn open(path: PathBuf, keys: Vec<SessionKey>, callers: usize) -> Arc<Self> {
        let store = SqliteStore::open(path).await.expect("a fresh file");
        let attribute = Attribute {
            json: ATTRIBUTES.into(),
            version: Version(0),
            expires_at: None,
        };
        let create = |key: &SessionKey| Change {
            key: *key,
            expect: Expect::default(),
            op: Op::Create(Box::new(Create {
                attributes: AttributeMap::from([("settings".into(), attribute.clone())]),
                snapshot: Some(state()),
                ..Create::default()
            })),
        };
        let outcomes = store
            .commit(keys.iter().map(create).collect())
            .await
            .expect("the store works");
        let versions: Vec<Version> = outcomes
            .into_iter()
            .map(|outcome| outcome.expect("a new key").version)
            .collect();
        let versions = versions
            .chunks(keys.len() / callers)
            .map(|own| std::sync::Mutex::new(own.into()))
            .collect();
        Arc::new(Self {
            store,
            keys,
            callers,
            versions,
        })
    }

    /// Saves a second.
    async fn round(self: &Arc<Self>, length: Duration) -> f64 {
        let begin = Instant::now();
        let callers: Vec<_> = (0..self.callers)
            .map(|nth| {
                let saver = Arc::clone(self);
                tokio::spawn(async move { saver.call(nth, begin, length).await })
            })
            .collect();
        let mut saves = 0;
        for caller in callers {
            saves += caller.await.expect("a caller panicked");
        }
        f64::from(saves) / begin.elapsed().as_secs_f64()
    }

    /// The `nth` caller. Returns how often it saved.
    async fn call(&self, nth: usize, begin: Instant, length: Duration) -> u32 {
        let keys = &self.keys[nth * (self.keys.len() / self.callers)..];
        let mut versions = std::mem::take(&mut *self.versions[nth].lock().expect("no panic"));
        let mut saves = 0;
        while begin.elapsed() < length {
            let own = saves as usize % versions.len();
            let change = Change {
                key: keys[own],
                expect: Expect {
                    version: Some(versions[own]),
                    epoch: None,
                },
                op: Op::Edit(Box::new(Edit {
                    snapshot: Some(Some(state())),
                    accessed_at: Some(self.store.now()),
                    ..Edit::default()
                })),
            };
            let outcome = self
                .store
                .commit(vec![change])
                .await
                .expect("the store works")
                .remove(0);
            versions[own] = outcome.expect("nobody else saves it").version;
            saves += 1;
        }
        *self.versions[nth].lock().expect("no panic") = versions;
        saves
    }
}

fn state() -> Snapshot {
    Snapshot {
        kind: "cart".into(),
        schema: 1,
        bytes: vec![7; STATE].into(),
    }
}

/// A directory beside this program: on a real disk, where the system's directory for temporary files may be memory.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let program = env::current_exe().expect("this program has a path");
        let beside = program.parent().expect("a program is in a directory");
        let directory = beside.join(format!("bench-{name}-{}", process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        Self(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
