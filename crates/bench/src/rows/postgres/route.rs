//! A route that reads a counter of its session and durably writes it, asked by wrk over 64 connections.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Router, routing::get};
use serde::{Deserialize, Serialize};
use session_process::{Context, Durability, Handle, Process, Schema, Sessions, records::SessionRecords};
use session_process_axum::{Error, Session, SessionLayer};
use session_process_postgres::PostgresStore;
use testkit::postgres::{Database, Server};
use tokio_postgres::config::Host;

use super::{load::Target, peer::Peer, redis::Redis, server};
use crate::{
    parts::Part,
    report::{Figures, Row, Target as Bound, median},
    rows::Measure,
    setting::Setting,
};

/// The word for a child of this program that serves the route.
pub const SERVE: &str = "serve-counter";

/// An axum route that reads and durably writes a counter, beside the same with tower-sessions' stores.
#[derive(Debug)]
pub struct CounterRoute;

impl Measure for CounterRoute {
    fn names(&self) -> Vec<&'static str> {
        vec!["counter_route", "counter_route_redis"]
    }

    fn needs(&self) -> Vec<Part> {
        vec![Part::POSTGRESQL, Part::REDIS, Part::WRK]
    }

    fn measure(&self, setting: &Setting) -> Vec<Figures> {
        let postgres = setting.run(server());
        let redis = Redis::start();
        let database = setting.run(async { server().await.database().await });
        let (_ours, address) = Ours::start(&postgres, &database);
        let (_tower, tower_address) = Peer::route_on_postgres(&postgres);
        let (_on_redis, redis_address) = Peer::route_on_redis(&redis);
        let mut targets = [address, tower_address, redis_address].map(Target::new);
        let rounds = setting.rounds.unwrap_or(setting.mode.pick(2, 5));
        let length = setting.mode.pick(Duration::from_secs(1), Duration::from_secs(3));
        let mut samples = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (target, samples) in targets.iter_mut().zip(&mut samples) {
                samples.push(target.round(length));
            }
        }
        assert!(targets[0].has_counted_all(), "a request was answered and not counted");
        let [ours, tower, on_redis] = samples.map(median);
        let row = |name, ratio| Row::per_second(name, "requests/s", Bound::ratio(ratio));
        vec![
            Figures::new(row("counter_route", 4.0), [("ours", ours), (Peer::POSTGRES, tower)]),
            Figures::new(
                row("counter_route_redis", 1.0),
                [("ours", ours), (Peer::REDIS, on_redis)],
            ),
        ]
    }
}

/// Our server, in a process of its own as the peers are.
struct Ours(Child);

impl Ours {
    fn start(server: &Server, database: &Database) -> (Self, String) {
        let config = server.config();
        let Host::Unix(folder) = &config.get_hosts()[0] else {
            panic!("our own server has a socket")
        };
        let this = std::env::current_exe().expect("the path of this program");
        let url = format!("host={} user=postgres dbname={}", folder.display(), database.name());
        let mut child = Command::new(this)
            .arg(SERVE)
            .arg(url)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut address).expect("it serves");
        (Self(child), address.trim().to_owned())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

impl Process for Counter {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("counter", 1));
}

struct Add;

impl Handle<Add> for Counter {
    type Reply = u64;

    async fn handle(&mut self, _: Add, _: &mut Context<Self>) -> u64 {
        self.0 += 1;
        self.0
    }
}

async fn add(session: Session<Counter>) -> Result<String, Error> {
    Ok(session.call(Add).await?.to_string())
}

/// The child: prints where it serves, and serves until it is ended.
///
/// # Panics
/// If it can't.
#[allow(clippy::print_stdout, reason = "how a child tells")]
pub fn serve(url: &str) {
    let url = url.to_owned();
    Setting::new(crate::setting::Mode::Full, None).run(async move {
        let store = PostgresStore::open(&url).await.expect("an empty database");
        let records = SessionRecords::builder(store).build().expect("good settings");
        let sessions = Sessions::<Counter>::builder()
            .records(records)
            .build()
            .expect("good settings");
        let layer = SessionLayer::new(sessions).with_insecure_cookies().expect("plain http");
        let app = Router::new().route("/", get(add)).layer(layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("a port"));
        axum::serve(listener, app).await.expect("a server");
    });
}
