//! Durable processes over a file: what a call has answered is there when the file is opened again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use session_process::{Context, Durability, Handle, Process, Schema, SessionId, Sessions, records::SessionRecords};
use session_process_sqlite::SqliteStore;

#[derive(Default, Serialize, Deserialize)]
struct Cart {
    items: u64,
}

impl Process for Cart {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("cart", 1));
}

struct Add;

impl Handle<Add> for Cart {
    type Reply = u64;
    async fn handle(&mut self, _: Add, _: &mut Context<Self>) -> u64 {
        self.items += 1;
        self.items
    }
}

async fn carts(path: &std::path::Path) -> (Arc<SqliteStore>, Sessions<Cart>) {
    let store = Arc::new(SqliteStore::open(path).await.unwrap());
    let records = SessionRecords::builder_over(Arc::clone(&store) as _).build().unwrap();
    let carts = Sessions::<Cart>::builder().records(records).build().unwrap();
    (store, carts)
}

/// N4: the same code as over the memory store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n4_a_process_over_a_file_comes_back_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sessions.db");
    let ids: Vec<SessionId> = (0..8).map(|_| SessionId::generate()).collect();

    let (_store, sessions) = carts(&path).await;
    let mut callers = Vec::new();
    for id in ids.iter().cycle().take(64) {
        let (id, sessions) = (id.clone(), sessions.clone());
        callers.push(tokio::spawn(async move {
            sessions.start(&id).await.unwrap();
            for _ in 0..10 {
                sessions.call(&id, Add).await.unwrap();
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }

    // No shutdown, as in a crash: another store and another engine on the same file.
    let (store, again) = carts(&path).await;
    for id in &ids {
        assert_eq!(again.call(id, Add).await.unwrap(), 81);
    }
    assert!(again.shutdown(std::time::Duration::from_secs(10)).await.cut.is_empty());
    store.shutdown().await;
}
