//! Many records: opening does not grow with them, nor do the searches.
//!
//! `RECORDS=1000000 cargo test --release -p session-process-sqlite --test it many_records` is the large form.

use std::{
    env,
    time::{Duration, Instant},
};

use session_process::store::{Create, Lifetime, Owner, SessionStore};
use session_process_sqlite::SqliteStore;

use crate::support::{apply, change, create, fresh, get, key, owner};

/// Enough to be many hundred pages.
const RECORDS: usize = 20_000;

#[tokio::test]
async fn opening_does_not_grow_with_many_records() {
    let records = env::var("RECORDS").map_or(RECORDS, |records| records.parse().expect("RECORDS is a number"));
    let fresh = fresh().await;
    let hers = key();
    let new = |nth: usize| Create {
        user_id: Some(owner(&format!("user {}", nth / 3))),
        lifetime: Lifetime {
            expires_at: None,
            idle_timeout: Some(Duration::from_secs(3600)),
        },
        ..Create::default()
    };
    for start in (0..records).step_by(1000) {
        let batch = (start..start + 1000)
            .map(|nth| change(key(), create(new(nth))))
            .collect();
        assert!(fresh.store.commit(batch).await.unwrap().iter().all(Result::is_ok));
    }
    apply(&fresh.store, hers, create(new(0))).await.unwrap();
    fresh.store.shutdown().await;

    let resident = resident_kib();
    let begun = Instant::now();
    let store = SqliteStore::open(fresh.path()).await.unwrap();
    assert!(get(&store, hers).await.is_some());
    let page = store.list(&Owner::User(owner("user 0")), None, 10).await.unwrap();
    assert_eq!(page.len(), 4);
    let took = begun.elapsed();
    // A few pages are read, whatever is in the file. A look at each record would take longer in the large form.
    assert!(took < Duration::from_secs(1), "opening took {took:?}");
    let grown = resident_kib().saturating_sub(resident);
    assert!(grown < 20_000, "opening took {grown} KiB");
    println!("{records} records: open, load and list took {took:?} and {grown} KiB");
    assert_eq!(store.delete_expired(10).await.unwrap(), []);
}

/// The memory of this process, where the system tells.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
