//! Two nodes on one database: how soon one serves what the other wrote, and what reads cost meanwhile.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use session_process::{
    SessionId,
    records::{NewSession, SessionRecords},
    store::{Changes, Notice, SessionKey, SessionStore as _},
};
use session_process_postgres::{Builder, PostgresStore};
use testkit::postgres::Database;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};

use super::server;
use crate::{
    parts::Part,
    report::{Better, Figures, Row, Target, median},
    rows::{Measure, expire::p99},
    setting::Setting,
};

const SESSIONS: usize = 1_000;
/// Updates a second while the delay is measured.
const PACE: u32 = 5_000;

/// How long after a commit on one node another serves the new value, beside a bare notification on its way.
#[derive(Debug)]
pub struct Invalidate;

/// Cached reads on one node while another saves at full speed, beside those of a node on its own.
#[derive(Debug)]
pub struct CachedDuringWrites;

struct Nodes {
    one: SessionRecords,
    two: SessionRecords,
    store_of_two: PostgresStore,
    ids: Vec<SessionId>,
    database: Database,
}

impl Nodes {
    async fn open() -> Arc<Self> {
        let database = server().await.database().await;
        let open = || async {
            let store = Builder::from_config(database.config()).open().await;
            store.expect("a database")
        };
        let records = |store| SessionRecords::builder(store).build().expect("good settings");
        let (one, store_of_two) = (records(open().await), open().await);
        let two = records(store_of_two.clone());
        let mut ids = Vec::new();
        for _ in 0..SESSIONS {
            let new = NewSession::new().attribute("n", 0_u64);
            ids.push(one.create(new).await.expect("the store works").id);
        }
        Arc::new(Self {
            one,
            two,
            store_of_two,
            ids,
            database,
        })
    }

    async fn add(&self, id: &SessionId) -> u64 {
        let added = self.one.update(id, |attributes| {
            attributes.update("n", |n: &mut u64| {
                *n += 1;
                *n
            })
        });
        added.await.expect("no update is lost")
    }

    async fn read(&self, id: &SessionId) -> u64 {
        let view = self.two.get(id).await.expect("the store works").expect("it is there");
        view.get("n").expect("a number").expect("it is there")
    }
}

impl Measure for Invalidate {
    fn names(&self) -> Vec<&'static str> {
        vec!["invalidate_p99"]
    }

    fn needs(&self) -> Vec<Part> {
        vec![Part::POSTGRESQL]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let length = setting.mode.pick(Duration::from_secs(2), Duration::from_secs(10));
        let (ours, bare) = setting.run(async move { delays(Nodes::open().await, length).await });
        let row = Row {
            name: "invalidate_p99",
            unit: "ns",
            better: Better::Lower,
            target: Some(Target::ratio(0.4)),
        };
        vec![Figures::new(row, [("ours", p99(ours)), ("NOTIFY", p99(bare))])]
    }
}

/// At a steady pace of updates, by turns: one that is followed to the other node, and a bare notification.
async fn delays(nodes: Arc<Nodes>, length: Duration) -> (Vec<Duration>, Vec<Duration>) {
    let stop = Arc::new(AtomicBool::new(false));
    let pace = tokio::spawn(keep_pace(Arc::clone(&nodes), Arc::clone(&stop)));
    let (sender, mut heard, listener) = bare(&nodes.database).await;
    // The ones that are followed are nobody else's.
    let followed = &nodes.ids[..SESSIONS / 10];
    for id in followed {
        nodes.read(id).await;
    }
    let mut told = nodes.store_of_two.changes();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for (nth, id) in followed.iter().cycle().enumerate() {
        if begin.elapsed() > length {
            break;
        }
        let value = nodes.add(id).await;
        let committed = Instant::now();
        // Waits, as the bare side does, before it reads. A loop of reads alone keeps one of two cores from the servers,
        // and then tells how long the kernel lets it have that.
        until_told(&mut *told, SessionKey::of(id)).await;
        while nodes.read(id).await < value {
            tokio::task::yield_now().await;
        }
        ours.push(committed.elapsed());

        let payload = nth.to_string();
        let notify = "SELECT pg_notify('bare', $1)";
        sender.execute(notify, &[&payload]).await.expect("a notification");
        let committed = Instant::now();
        while heard.recv().await.expect("it listens") != payload {}
        theirs.push(committed.elapsed());
    }
    stop.store(true, Ordering::Release);
    let rate = pace.await.expect("no panic");
    assert!(
        rate > f64::from(PACE) * 0.8,
        "the machine can't keep the pace: {rate:.0} updates a second"
    );
    drop(listener);
    (ours, theirs)
}

async fn until_told(told: &mut dyn Changes, followed: SessionKey) {
    loop {
        match told.next().await.expect("the store is open") {
            Notice::Changed { key, .. } if key == followed => break,
            Notice::Changed { .. } | Notice::Removed { .. } | Notice::Hearing => {}
            other => panic!("the second node lost track: {other:?}"),
        }
    }
}

/// Updates of all sessions but those that are followed. How many a second it came to.
async fn keep_pace(nodes: Arc<Nodes>, stop: Arc<AtomicBool>) -> f64 {
    const TOGETHER: u32 = 10;
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * TOGETHER / PACE);
    let (mut count, mut next) = (0, SESSIONS / 10);
    while !stop.load(Ordering::Acquire) {
        ticks.tick().await;
        for _ in 0..TOGETHER {
            next = if next + 1 < SESSIONS { next + 1 } else { SESSIONS / 10 };
            let (nodes, nth) = (Arc::clone(&nodes), next);
            tokio::spawn(async move { nodes.add(&nodes.ids[nth]).await });
            count += 1;
        }
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// Who notifies, and what is heard on another connection.
async fn bare(
    database: &Database,
) -> (
    tokio_postgres::Client,
    mpsc::UnboundedReceiver<String>,
    tokio_postgres::Client,
) {
    let (listener, mut connection) = database.config().connect(NoTls).await.expect("a connection");
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = tell.send(notification.payload().to_owned());
            }
        }
    });
    listener.batch_execute("LISTEN bare").await.expect("it listens");
    (database.connect().await, heard, listener)
}

impl Measure for CachedDuringWrites {
    fn names(&self) -> Vec<&'static str> {
        vec!["cached_during_writes"]
    }

    fn needs(&self) -> Vec<Part> {
        vec![Part::POSTGRESQL]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let nodes = setting.run(Nodes::open());
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(3, 7));
        let length = setting.mode.pick(Duration::from_millis(300), Duration::from_secs(1));
        let (mut during, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            alone.push(setting.run(reads(Arc::clone(&nodes), length)));
            let stop = Arc::new(AtomicBool::new(false));
            let (writing, stopped) = (Arc::clone(&nodes), Arc::clone(&stop));
            let both = Arc::clone(&nodes);
            during.push(setting.run(async move {
                let writes = tokio::spawn(full_speed(writing, stopped));
                let reads = reads(both, length).await;
                stop.store(true, Ordering::Release);
                writes.await.expect("no panic");
                reads
            }));
        }
        let row = Row::per_second("cached_during_writes", "reads/s", Target::ratio(0.5));
        vec![Figures::new(
            row,
            [("during", median(during)), ("alone", median(alone))],
        )]
    }
}

/// One reader of the second half of the sessions, on the second node.
async fn reads(nodes: Arc<Nodes>, length: Duration) -> f64 {
    let read = &nodes.ids[SESSIONS / 2..];
    for id in read {
        nodes.read(id).await;
    }
    let begin = Instant::now();
    let mut count = 0_u32;
    for id in read.iter().cycle() {
        if count.is_multiple_of(64) && begin.elapsed() >= length {
            break;
        }
        black_box(nodes.two.get(id).await.expect("the store works"));
        count += 1;
        if count.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// 64 callers save the first half of the sessions on the first node.
async fn full_speed(nodes: Arc<Nodes>, stop: Arc<AtomicBool>) {
    let callers: Vec<_> = (0..64)
        .map(|nth| {
            let (nodes, stop) = (Arc::clone(&nodes), Arc::clone(&stop));
            tokio::spawn(async move {
                for id in nodes.ids[..SESSIONS / 2].iter().skip(nth).step_by(64).cycle() {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    nodes.add(id).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
}
