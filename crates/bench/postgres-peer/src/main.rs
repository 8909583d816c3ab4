//! tower-sessions' PostgreSQL store. `bench` starts this program, which fills the store and then measures a round for
//! each line that it reads: milliseconds in, operations a second out.

#[path = "../../src/rows/postgres/callers.rs"]
mod callers;

use std::{collections::HashMap, env, hint::black_box, io, sync::Arc};

use callers::{Callers, Side, Work};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use time::{Duration, OffsetDateTime};
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};
use tower_sessions_sqlx_store::PostgresStore;

struct Tower {
    store: PostgresStore,
    value: serde_json::Value,
}

impl Side for Tower {
    type Session = Record;

    async fn create(&self) -> Record {
        let mut record = Record {
            id: Id::default(),
            data: HashMap::from([("settings".to_owned(), self.value.clone()), ("saves".to_owned(), 0.into())]),
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

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [folder, database, work, callers, value] = &args[..] else {
        panic!("`bench` starts this program")
    };
    let work = match work.as_str() {
        "Load" => Work::Load,
        "Save" => Work::Save,
        "Create" => Work::Create,
        _ => Work::Delete,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads");
    let options = PgConnectOptions::new().socket(folder).username("postgres").database(database);
    let value = serde_json::from_str(value).expect("JSON");
    let callers: usize = callers.parse().expect("a number");
    let filled = runtime.spawn(async move {
        // As many connections as serve it best on two cores.
        let pool = PgPoolOptions::new().max_connections(16).connect_with(options).await;
        let store = PostgresStore::new(pool.expect("the server takes connections"));
        store.migrate().await.expect("an empty database");
        Callers::prepare(Tower { store, value }, work, callers).await
    });
    let filled = runtime.block_on(filled).expect("the store works");
    println!("ready");
    for line in io::stdin().lines() {
        let length = line.expect("a pipe").parse().expect("milliseconds");
        let round = Arc::clone(&filled).round(std::time::Duration::from_millis(length));
        println!("{}", runtime.block_on(runtime.spawn(round)).expect("the store works"));
    }
}
