//! 64 callers add to one session. The sum must be exact.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use session_process::{
    SessionId,
    records::{NewSession, SessionRecords},
};
use session_process_postgres::Builder;
use testkit::postgres::Database;
use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::{Client, Statement};

use super::server;
use crate::{
    parts::Part,
    report::{Figures, Row, Target, median},
    rows::Measure,
    setting::Setting,
};

const CALLERS: usize = 64;

/// 64 callers add to one session by `update`; the peer is what one writes by hand, `SELECT … FOR UPDATE`.
#[derive(Debug)]
pub struct Hot;

impl Measure for Hot {
    fn names(&self) -> Vec<&'static str> {
        vec!["pg_update_hot"]
    }

    fn needs(&self) -> Vec<Part> {
        vec![Part::POSTGRESQL]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let (ours, theirs) = setting.run(async { (Arc::new(Ours::open().await), Arc::new(Locked::open().await)) });
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(3, 7));
        let length = setting.mode.pick(Duration::from_millis(300), Duration::from_secs(1));
        let mut samples = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let side = Arc::clone(&ours);
            samples.0.push(setting.run(round(length, move || {
                let side = Arc::clone(&side);
                async move { side.add().await }
            })));
            let side = Arc::clone(&theirs);
            samples.1.push(setting.run(round(length, move || {
                let side = Arc::clone(&side);
                async move { side.add().await }
            })));
        }
        setting.run(async move {
            ours.check().await;
            theirs.check().await;
        });
        let row = Row::per_second("pg_update_hot", "updates/s", Target::ratio(3.0));
        vec![Figures::new(
            row,
            [("ours", median(samples.0)), ("for-update", median(samples.1))],
        )]
    }
}

async fn round<F: Future<Output = ()> + Send>(length: Duration, add: impl Fn() -> F + Clone + Send + 'static) -> f64 {
    let begin = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let add = add.clone();
            tokio::spawn(async move {
                let mut count = 0_u32;
                while begin.elapsed() < length {
                    add().await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for caller in callers {
        count += caller.await.expect("a caller panicked");
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

struct Ours {
    records: SessionRecords,
    id: SessionId,
    added: AtomicU64,
    _database: Database,
}

impl Ours {
    async fn open() -> Self {
        let database = server().await.database().await;
        let store = Builder::from_config(database.config())
            .open()
            .await
            .expect("an empty database");
        let records = SessionRecords::builder(store).build().expect("good settings");
        let new = NewSession::new().attribute("n", 0_u64);
        let id = records.create(new).await.expect("the store works").id;
        Self {
            records,
            id,
            added: AtomicU64::new(0),
            _database: database,
        }
    }

    async fn add(&self) {
        let added = self
            .records
            .update(&self.id, |attributes| attributes.update("n", |n: &mut u64| *n += 1));
        added.await.expect("no update is lost");
        self.added.fetch_add(1, Ordering::Relaxed);
    }

    async fn check(&self) {
        let found = self
            .records
            .get_fresh(&self.id)
            .await
            .expect("the store works")
            .expect("it is there");
        let n: Option<u64> = found.get("n").expect("a number");
        assert_eq!(n, Some(self.added.load(Ordering::Relaxed)), "the sum is exact");
    }
}

/// 16 connections, as the peer of the other rows has.
struct Locked {
    permits: Semaphore,
    pool: Mutex<Vec<(Client, Statement, Statement)>>,
    added: AtomicU64,
    database: Database,
}

impl Locked {
    const CONNECTIONS: usize = 16;

    async fn open() -> Self {
        let database = server().await.database().await;
        let create = "CREATE TABLE session (id int PRIMARY KEY, n bigint NOT NULL); INSERT INTO session VALUES (1, 0)";
        database.connect().await.batch_execute(create).await.expect("a table");
        let mut pool = Vec::new();
        for _ in 0..Self::CONNECTIONS {
            let client = database.connect().await;
            let select = client
                .prepare("SELECT n FROM session WHERE id = 1 FOR UPDATE")
                .await
                .expect("a statement");
            let update = client
                .prepare("UPDATE session SET n = $1 WHERE id = 1")
                .await
                .expect("a statement");
            pool.push((client, select, update));
        }
        Self {
            permits: Semaphore::new(Self::CONNECTIONS),
            pool: Mutex::new(pool),
            added: AtomicU64::new(0),
            database,
        }
    }

    async fn add(&self) {
        let _permit = self.permits.acquire().await.expect("never closed");
        let (client, select, update) = self.pool.lock().await.pop().expect("there is a permit");
        client.batch_execute("BEGIN").await.expect("a transaction");
        let n: i64 = client.query_one(&select, &[]).await.expect("a row").get(0);
        client.execute(&update, &[&(n + 1)]).await.expect("an update");
        client.batch_execute("COMMIT").await.expect("a commit");
        self.pool.lock().await.push((client, select, update));
        self.added.fetch_add(1, Ordering::Relaxed);
    }

    async fn check(&self) {
        let row = self
            .database
            .connect()
            .await
            .query_one("SELECT n FROM session", &[])
            .await
            .expect("a row");
        assert_eq!(
            row.get::<_, i64>(0).cast_unsigned(),
            self.added.load(Ordering::Relaxed),
            "the sum is exact"
        );
    }
}
