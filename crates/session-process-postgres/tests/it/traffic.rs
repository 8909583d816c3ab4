//! [`Traffic`]: nodes that write and read the same sessions all the time, and a checker that proves from what they saw
//! that no acknowledged write was lost, none took effect twice, and no read returned an old value as current.
//!
//! Each write appends a token of its own to a session's log and is told how long the log is then. So the log at the end
//! is the history, in order, and every write and every read has its place in it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use session_process::{
    SessionId,
    attributes::Limits,
    records::{NewSession, SessionRecords},
};
use session_process_postgres::{Builder, Coherence, PostgresStore};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_postgres::Config;

const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(400);
/// For what the machine is busy with besides; a reader that is not run can't be late.
const SLACK: Duration = Duration::from_millis(500);
/// How long the database may take before it is taken for away.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// Sessions, each of which is written and read on all nodes.
const SESSIONS: usize = 4;
/// Hexadecimal digits of a token.
const DIGITS: usize = 8;

pub(crate) async fn node(config: Config) -> PostgresStore {
    Builder::from_config(config)
        .coherence(Coherence::Listen {
            interval: INTERVAL,
            patience: PATIENCE,
        })
        .timeout(TIMEOUT)
        .open()
        .await
        .expect("the server is there")
}

/// See the module.
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    nodes: Vec<SessionRecords>,
    tasks: Vec<JoinHandle<()>>,
    bound: Duration,
}

struct Shared {
    stop: AtomicBool,
    token: AtomicU32,
    sessions: Vec<(SessionId, Mutex<Log>)>,
    /// By node.
    counts: Vec<Counts>,
}

#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    reads: AtomicU64,
}

/// What was seen of a session.
#[derive(Default)]
struct Log {
    writes: Vec<Write>,
    /// Tokens of writes that failed: it is open whether they took effect.
    open: Vec<u32>,
    /// By node.
    reads: Vec<Vec<Read>>,
}

/// An acknowledged write.
struct Write {
    token: u32,
    /// Of the log after it.
    len: usize,
    at: Instant,
}

/// Reads that returned the same, one after the other.
struct Read {
    len: usize,
    last_token: Option<u32>,
    /// When the last of them began.
    begun: Instant,
}

impl Traffic {
    /// On these nodes.
    pub(crate) async fn begin(stores: &[PostgresStore]) -> Self {
        let nodes: Vec<SessionRecords> = stores
            .iter()
            .map(|store| {
                let builder = SessionRecords::builder(store.clone())
                    .cleanup_interval(None)
                    .attributes(Limits::new().max_value_len(1 << 20));
                builder.build().expect("good settings")
            })
            .collect();
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let new = NewSession::new().attribute("log", "");
            let id = nodes[0].create(new).await.expect("it works").id;
            let log = Log {
                reads: nodes.iter().map(|_| Vec::new()).collect(),
                ..Log::default()
            };
            sessions.push((id, Mutex::new(log)));
        }
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            token: AtomicU32::new(0),
            sessions,
            counts: nodes.iter().map(|_| Counts::default()).collect(),
        });
        let tasks = nodes
            .iter()
            .enumerate()
            .flat_map(|(node, records)| {
                [
                    tokio::spawn(write(Arc::clone(&shared), node, records.clone())),
                    tokio::spawn(read(Arc::clone(&shared), node, records.clone())),
                ]
            })
            .collect();
        Self {
            shared,
            nodes,
            tasks,
            bound: stores[0].staleness_bound().expect("it listens"),
        }
    }

    /// Until writes and reads go through (again) on these nodes, some of each.
    pub(crate) async fn flows(&self, nodes: impl IntoIterator<Item = usize>) {
        for node in nodes {
            let counts = &self.shared.counts[node];
            let now = || {
                (
                    counts.writes.load(Ordering::Acquire),
                    counts.reads.load(Ordering::Acquire),
                )
            };
            let begun = now();
            while now().0 < begun.0 + 15 || now().1 < begun.1 + 15 {
                assert!(
                    !self.tasks.iter().any(JoinHandle::is_finished),
                    "a reader or a writer gave up"
                );
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// So long, with whatever is wrong at the time.
    pub(crate) async fn goes_on_for(&self, time: Duration) {
        tokio::time::sleep(time).await;
        assert!(
            !self.tasks.iter().any(JoinHandle::is_finished),
            "a reader or a writer gave up"
        );
    }

    /// After a while in which a node serves from its cache, so that what is wrong in it shows.
    #[allow(clippy::print_stdout, reason = "what a test that fails has seen")]
    pub(crate) async fn end(self) {
        self.flows(0..self.nodes.len()).await;
        let begun = Instant::now();
        while !self.nodes.iter().all(|node| node.stats().cache_in_use) {
            assert!(
                begun.elapsed() < 10 * self.bound,
                "a cache that is never used is never wrong"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.goes_on_for(self.bound + SLACK).await;
        self.shared.stop.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.expect("a reader or a writer failed");
        }
        let (mut oldest, mut written, mut open) = (Duration::ZERO, 0, 0);
        for (id, log) in &self.shared.sessions {
            let mut history = None;
            for node in &self.nodes {
                let found = node.get_fresh(id).await.expect("it works again");
                let found = tokens(&found.expect("it is there").get::<String>("log").unwrap().unwrap());
                assert_eq!(*history.get_or_insert_with(|| found.clone()), found, "nodes differ");
            }
            let log = log.lock().unwrap();
            let history = history.expect("there are nodes");
            log.check_writes(&history);
            oldest = oldest.max(log.check_reads(&history));
            (written, open) = (written + log.writes.len(), open + log.open.len());
        }
        println!("{written} writes acknowledged, {open} open; the oldest value was {oldest:?} behind");
        assert!(
            oldest <= self.bound + SLACK,
            "a read returned a value that was {oldest:?} old; the bound is {:?}",
            self.bound
        );
    }
}

impl Log {
    fn check_writes(&self, history: &[u32]) {
        for Write { token, len, .. } in &self.writes {
            assert_eq!(
                history.get(len - 1),
                Some(token),
                "an acknowledged write is not where it was"
            );
        }
        let mut sorted = history.to_vec();
        sorted.sort_unstable();
        assert!(
            sorted.windows(2).all(|two| two[0] != two[1]),
            "a write took effect twice"
        );
        let mut known: Vec<u32> = self.writes.iter().map(|write| write.token).collect();
        known.extend(&self.open);
        known.sort_unstable();
        assert!(
            sorted.iter().all(|token| known.binary_search(token).is_ok()),
            "nobody wrote this"
        );
    }

    /// How far behind a read was at most.
    fn check_reads(&self, history: &[u32]) -> Duration {
        // When the log was known to be at least so long.
        let mut known_at = vec![None::<Instant>; history.len() + 2];
        for Write { len, at, .. } in &self.writes {
            known_at[*len] = Some(known_at[*len].map_or(*at, |other| other.min(*at)));
        }
        for len in (1..=history.len()).rev() {
            known_at[len] = match (known_at[len], known_at[len + 1]) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            };
        }
        let mut oldest = Duration::ZERO;
        for Read { len, last_token, begun } in self.reads.iter().flatten() {
            assert_eq!(
                len.checked_sub(1).map(|last| history.get(last).copied()),
                last_token.map(Some),
                "something was read that never was"
            );
            if let Some(newer) = known_at[len + 1] {
                oldest = oldest.max(begun.saturating_duration_since(newer));
            }
        }
        oldest
    }
}

async fn write(shared: Arc<Shared>, node: usize, records: SessionRecords) {
    for (id, log) in shared.sessions.iter().cycle().skip(node) {
        if shared.stop.load(Ordering::Acquire) {
            break;
        }
        let token = shared.token.fetch_add(1, Ordering::Relaxed);
        let appended = records.update(id, |attributes| {
            attributes.update("log", |log: &mut String| {
                log.push_str(&format!("{token:0DIGITS$x}"));
                log.len() / DIGITS
            })
        });
        match appended.await {
            Ok(len) => {
                let at = Instant::now();
                log.lock().unwrap().writes.push(Write { token, len, at });
                shared.counts[node].writes.fetch_add(1, Ordering::AcqRel);
            }
            Err(_) => {
                log.lock().unwrap().open.push(token);
                // An error can come at once, and a test has little use for a million of them.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

async fn read(shared: Arc<Shared>, node: usize, records: SessionRecords) {
    // As precise as the answer has to be.
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.stop.load(Ordering::Acquire) {
        tick.tick().await;
        for (id, log) in &shared.sessions {
            let begun = Instant::now();
            let Ok(found) = records.get(id).await else { continue };
            let found = found.expect("a failure to read became \"no session\"");
            let text: String = found.get("log").unwrap().unwrap();
            let (len, last_token) = (
                text.len() / DIGITS,
                tokens(&text[text.len().saturating_sub(DIGITS)..]).pop(),
            );
            let reads = &mut log.lock().unwrap().reads[node];
            match reads.last_mut() {
                Some(last) if last.len == len && last.last_token == last_token => last.begun = begun,
                _ => reads.push(Read { len, last_token, begun }),
            }
            shared.counts[node].reads.fetch_add(1, Ordering::AcqRel);
        }
    }
}

fn tokens(log: &str) -> Vec<u32> {
    (0..log.len() / DIGITS)
        .map(|n| u32::from_str_radix(&log[n * DIGITS..(n + 1) * DIGITS], 16).expect("written by us"))
        .collect()
}
