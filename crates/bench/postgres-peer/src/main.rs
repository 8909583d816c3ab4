//! tower-sessions' PostgreSQL and Redis stores. `bench` starts this program, which fills a store and then measures a
//! round for each line that it reads: milliseconds in, operations a second out. Or it serves a route.

#[path = "../../src/rows/postgres/callers.rs"]
mod callers;
mod route;

use std::{collections::HashMap, env, hint::black_box, io, sync::Arc};

use callers::{Callers, Side, Work};
use fred::prelude::{ClientLike, Config, Pool};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use time::{Duration, OffsetDateTime};
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_sqlx_store::PostgresStore;

struct Tower<S> {
    store: S,
    value: serde_json::Value,
}

impl<S: SessionStore> Side for Tower<S> {
    type Session = Record;

    async fn create(&self) -> Record {
        let mut record = Record {
            id: Id::default(),
            data: HashMap::from([
                ("settings".to_owned(), self.value.clone()),
                ("saves".to_owned(), 0.into()),
            ]),
            expiry_date: OffsetDateTime::now_utc() + Duration::days(1),
        };
        self.store.create(&mut record).await.expect("the store works");
        record
    }

    async fn load(&self, session: &Record) {
        let found = self.store.load(&session.id).await.expect("the store works");
        assert!(black_box(found).is_some());
    }

    async fn save(&self, session: &mut Record) {
        let saves = session.data["saves"].as_u64().expect("a number") + 1;
        session.data.insert("saves".to_owned(), saves.into());
        self.store.save(session).await.expect("the store works");
    }

    async fn delete(&self, session: Record) {
        self.store.delete(&session.id).await.expect("the store works");
    }
}

async fn postgres(folder: &str, database: &str) -> PostgresStore {
    let options = PgConnectOptions::new()
        .socket(folder)
        .username("postgres")
        .database(database);
    // As many connections as serve it best on two cores.
    let pool = PgPoolOptions::new().max_connections(16).connect_with(options).await;
    let store = PostgresStore::new(pool.expect("the server takes connections"));
    store.migrate().await.expect("an empty database");
    store
}

/// As its documentation does it.
async fn redis(socket: &str) -> RedisStore<Pool> {
    let config = Config::from_url(&format!("redis+unix://{socket}")).expect("a good address");
    let pool = Pool::new(config, None, None, None, 6).expect("good settings");
    pool.connect();
    pool.wait_for_connect().await.expect("the server takes connections");
    RedisStore::new(pool)
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("threads");
    match args[..] {
        ["postgres", folder, database, "Route"] => {
            let store = runtime.block_on(postgres(folder, database));
            runtime.block_on(runtime.spawn(route::serve(store))).expect("a server");
        }
        ["redis", socket, "Route"] => {
            let store = runtime.block_on(redis(socket));
            runtime.block_on(runtime.spawn(route::serve(store))).expect("a server");
        }
        ["postgres", folder, database, work, callers, value] => {
            let store = runtime.block_on(postgres(folder, database));
            measure(&runtime, store, work, callers, value);
        }
        ["redis", socket, work, callers, value] => {
            let store = runtime.block_on(redis(socket));
            measure(&runtime, store, work, callers, value);
        }
        _ => panic!("`bench` starts this program"),
    }
}

fn measure(runtime: &tokio::runtime::Runtime, store: impl SessionStore, work: &str, callers: &str, value: &str) {
    let work = match work {
        "Load" => Work::Load,
        "Save" => Work::Save,
        "Create" => Work::Create,
        _ => Work::Delete,
    };
    let value = serde_json::from_str(value).expect("JSON");
    let callers: usize = callers.parse().expect("a number");
    let filled = runtime.spawn(async move { Callers::prepare(Tower { store, value }, work, callers).await });
    let filled = runtime.block_on(filled).expect("the store works");
    println!("ready");
    for line in io::stdin().lines() {
        let length = line.expect("a pipe").parse().expect("milliseconds");
        let round = Arc::clone(&filled).round(std::time::Duration::from_millis(length));
        println!("{}", runtime.block_on(runtime.spawn(round)).expect("the store works"));
    }
}
