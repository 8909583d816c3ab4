//! PostgreSQL: our store beside tower-sessions' own, on one server that this program starts, with `fsync` as in
//! production. In some rows the peer is its Redis store, on a server of its own that writes nothing to the disk.
//!
//! Both have the defaults of their crates, but for the peer's pool, which gets 16 connections where sqlx gives 10. The
//! peer is another program (`postgres-peer`, not in this workspace): its sqlx and our rusqlite link different versions
//! of one C library, and Cargo allows one.

mod callers;
mod hot;
mod load;
mod nodes;
mod ours;
mod peer;
mod redis;
mod route;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::postgres::{Disk, Server};

use self::{
    callers::{Callers, Work},
    ours::Ours,
    peer::Peer,
    redis::Redis,
};
pub use self::{
    hot::Hot,
    nodes::{CachedDuringWrites, Invalidate},
    route::{CounterRoute, SERVE, serve},
};
use crate::{
    parts::Part,
    report::{Figures, Row, Target, median},
    rows::Measure,
    setting::Setting,
};

/// About what a cart is.
const VALUE: &str =
    r#"{"theme":"dark","language":"de","seen":[1,2,3,4,5,6,7,8],"cart":["a lamp","two chairs","a table of oak"]}"#;

/// The server of all rows. It ends with this program.
async fn server() -> Arc<Server> {
    static SERVER: Mutex<Option<Arc<Server>>> = Mutex::new(None);
    if let Some(server) = &*SERVER.lock().expect("no panic") {
        return Arc::clone(server);
    }
    let server = Arc::new(Server::private(Disk::Durable).await);
    *SERVER.lock().expect("no panic") = Some(Arc::clone(&server));
    server
}

/// One kind of work by a number of callers, each with sessions of its own.
#[derive(Debug)]
pub struct Postgres {
    name: &'static str,
    unit: &'static str,
    work: Work,
    callers: usize,
    target: f64,
    /// Against the Redis store instead, whose saves are not durable.
    redis: bool,
}

impl Postgres {
    /// All rows.
    pub const ALL: [Self; 7] = [
        Self::row("pg_load_64", "loads/s", Work::Load, 64, 3.0),
        Self::row("pg_save_1", "saves/s", Work::Save, 1, 1.0),
        Self::row("pg_save_64", "saves/s", Work::Save, 64, 3.0),
        Self::row("pg_save_512", "saves/s", Work::Save, 512, 6.0),
        Self {
            redis: true,
            ..Self::row("pg_save_512_redis", "saves/s", Work::Save, 512, 1.0)
        },
        Self::row("pg_create_64", "creations/s", Work::Create, 64, 4.0),
        Self::row("pg_delete_64", "deletions/s", Work::Delete, 64, 4.0),
    ];

    const fn row(name: &'static str, unit: &'static str, work: Work, callers: usize, target: f64) -> Self {
        Self {
            name,
            unit,
            work,
            callers,
            target,
            redis: false,
        }
    }

    fn ours(&self, setting: &Setting) -> Arc<Callers<Ours>> {
        let (work, callers) = (self.work, self.callers);
        setting.run(async move {
            let side = Ours::open(server().await).await;
            Callers::prepare(side, work, callers).await
        })
    }
}

impl Measure for Postgres {
    fn names(&self) -> Vec<&'static str> {
        vec![self.name]
    }

    fn needs(&self) -> Vec<Part> {
        let redis = self.redis.then_some(Part::REDIS);
        [Part::POSTGRESQL].into_iter().chain(redis).collect()
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let ours = self.ours(setting);
        let server = setting.run(server());
        let redis = self.redis.then(Redis::start);
        let (name, mut theirs) = match &redis {
            Some(redis) => (Peer::REDIS, Peer::redis(redis, self.work, self.callers)),
            None => (Peer::POSTGRES, Peer::postgres(&server, self.work, self.callers)),
        };
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(3, 7));
        let length = setting.mode.pick(Duration::from_millis(300), Duration::from_secs(1));
        let mut samples = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            samples.0.push(setting.run(Arc::clone(&ours).round(length)));
            samples.1.push(theirs.round(length));
        }
        let row = Row::per_second(self.name, self.unit, Target::ratio(self.target));
        let sides = [(Ours::NAME, median(samples.0)), (name, median(samples.1))];
        vec![Figures::new(row, sides)]
    }
}
