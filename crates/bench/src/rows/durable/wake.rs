//! Calls to sleeping sessions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use session_process::{Context, Durability, Handle, Process, Schema, SessionId, Sessions, store::SessionKey};

use super::Scratch;
use crate::{
    report::{Figures, Row, Target, median},
    rows::Measure,
    setting::Setting,
};

/// 64 callers call 20,000 sessions that sleep in a SQLite file, each once: look-up, read, a process, the call, the
/// reply. Against the bare read of the same rows by their key, on one connection, with a statement that is prepared.
#[derive(Debug)]
pub struct Wake;

const SESSIONS: usize = 20_000;
const CALLERS: usize = 64;
const SLEEP_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Cart(Vec<u8>);

impl Process for Cart {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::with(
        "cart",
        1,
        |cart: &Self| Ok(cart.0.clone()),
        |bytes| Ok(Self(bytes.to_vec())),
    ));
}

struct Fill;
struct Size;

impl Handle<Fill> for Cart {
    type Reply = ();
    async fn handle(&mut self, _: Fill, _: &mut Context<Self>) {
        self.0 = vec![7; 256];
    }
}

impl Handle<Size> for Cart {
    type Reply = usize;
    async fn handle(&mut self, _: Size, cx: &mut Context<Self>) -> usize {
        cx.unchanged();
        self.0.len()
    }
}

impl Measure for Wake {
    fn names(&self) -> Vec<&'static str> {
        vec!["wake_64"]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let scratch = Scratch::new("wake");
        let ids = super::ids(SESSIONS);
        let (records, sessions, scratch) = setting.run({
            let ids = Arc::clone(&ids);
            async move {
                let records = super::records(&scratch).await;
                let sessions = Sessions::<Cart>::builder()
                    .records(records.clone())
                    .sleep_after(SLEEP_AFTER)
                    .sweep_interval(Duration::from_millis(100))
                    .build()
                    .expect("a runtime");
                for_each(&ids, &sessions, |sessions, id| async move {
                    sessions.start(&id).await.expect("there is room");
                    sessions.call(&id, Fill).await.expect("it is started");
                })
                .await;
                (records, sessions, scratch)
            }
        });
        let theirs = Connection::open(scratch.0.join("ours.db")).expect("our file");
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(2, 5));
        let (mut our_samples, mut their_samples) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            eprintln!("wake_64: round {round} of {rounds}");
            let (sessions, ids_here, records) = (sessions.clone(), Arc::clone(&ids), records.clone());
            our_samples.push(setting.run(async move {
                while sessions.stats().sessions > 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                records.clear_cache();
                let begin = Instant::now();
                for_each(&ids_here, &sessions, |sessions, id| async move {
                    assert_eq!(sessions.call(&id, Size).await.expect("it wakes"), 256);
                })
                .await;
                SESSIONS as f64 / begin.elapsed().as_secs_f64()
            }));
            their_samples.push(read(&theirs, &ids));
        }
        let _ = setting.run(async move { sessions.shutdown(Duration::from_secs(60)).await });
        let row = Row::per_second("wake_64", "calls/s", Target::ratio(0.4));
        vec![Figures::new(
            row,
            [("ours", median(our_samples)), ("rusqlite_read", median(their_samples))],
        )]
    }
}

async fn for_each<F, T>(ids: &Arc<[SessionId]>, sessions: &Sessions<Cart>, work: F)
where
    F: Fn(Sessions<Cart>, SessionId) -> T + Clone + Send + 'static,
    T: Future<Output = ()> + Send,
{
    let callers: Vec<_> = (0..CALLERS)
        .map(|nth| {
            let (ids, sessions, work) = (Arc::clone(ids), sessions.clone(), work.clone());
            tokio::spawn(async move {
                for id in ids.iter().skip(nth).step_by(CALLERS) {
                    work(sessions.clone(), id.clone()).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller panicked");
    }
}

/// Reads the same rows, one after the other.
fn read(connection: &Connection, ids: &[SessionId]) -> f64 {
    let keys: Vec<_> = ids.iter().map(|id| *SessionKey::of(id).as_bytes()).collect();
    let mut statement = connection
        .prepare("SELECT version, accessed_at, attributes, snapshot FROM session WHERE key = ?1")
        .expect("the store's table");
    let begin = Instant::now();
    for key in &keys {
        let size = statement
            .query_row([key], |row| {
                let _: (i64, i64, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                row.get::<_, Vec<u8>>(3).map(|snapshot| snapshot.len())
            })
            .expect("a row");
        assert_eq!(size, 256);
    }
    keys.len() as f64 / begin.elapsed().as_secs_f64()
}
