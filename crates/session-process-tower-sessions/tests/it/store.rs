//! What tower-sessions expects of a store, on memory and on SQLite.

use std::{collections::HashMap, sync::Arc, time::Duration as StdDuration};

use session_process::{
    ManualClock,
    records::SessionRecords,
    store::{MemoryStore, SessionStore as OurStore},
};
use session_process_sqlite::SqliteStore;
use session_process_tower_sessions::{RecordStore, session_id};
use time::{Duration, OffsetDateTime};
use tower_sessions::{
    ExpiredDeletion, SessionStore,
    session::{Id, Record},
    session_store::Error,
};

fn over(store: Arc<dyn OurStore>) -> RecordStore {
    RecordStore::new(SessionRecords::builder_over(store).build().unwrap())
}

/// Each kind of store, fresh, one after the other.
async fn on_each(check: impl AsyncFn(RecordStore)) {
    check(over(Arc::new(MemoryStore::new()))).await;
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path().join("sessions.db")).await.unwrap());
    check(over(store.clone())).await;
    store.shutdown().await;
}

fn record() -> Record {
    let data = [
        ("user".to_owned(), "ada".into()),
        ("visits".to_owned(), 3.into()),
        ("ratio".to_owned(), 0.1.into()),
        (
            "cart".to_owned(),
            serde_json::json!([{ "item": "tea", "price": 4.25 }, null, true]),
        ),
        ("with space, \"quotes\" and é".to_owned(), "ü".into()),
    ];
    Record {
        id: Id::default(),
        data: data.into(),
        expiry_date: OffsetDateTime::now_utc() + Duration::minutes(30),
    }
}

#[tokio::test]
async fn what_is_created_is_loaded() {
    on_each(async |store| {
        let mut made = record();
        store.create(&mut made).await.unwrap();
        assert_eq!(store.load(&made.id).await.unwrap(), Some(made.clone()));
        let mut empty = Record {
            id: Id::default(),
            data: HashMap::new(),
            ..made
        };
        store.create(&mut empty).await.unwrap();
        assert_eq!(store.load(&empty.id).await.unwrap(), Some(empty));
    })
    .await;
}

#[tokio::test]
async fn an_id_that_is_taken_gives_way_to_another() {
    on_each(async |store| {
        let mut first = record();
        store.create(&mut first).await.unwrap();
        let mut second = Record {
            data: [("user".to_owned(), "eve".into())].into(),
            ..first.clone()
        };
        store.create(&mut second).await.unwrap();
        assert_ne!(second.id, first.id);
        assert_eq!(store.load(&first.id).await.unwrap(), Some(first));
        assert_eq!(store.load(&second.id).await.unwrap(), Some(second));
    })
    .await;
}

#[tokio::test]
async fn what_is_saved_takes_the_place_of_all_that_was_there() {
    on_each(async |store| {
        let mut made = record();
        store.create(&mut made).await.unwrap();
        let changed = Record {
            data: [("visits".to_owned(), 4.into())].into(),
            expiry_date: made.expiry_date + Duration::minutes(5),
            ..made
        };
        store.save(&changed).await.unwrap();
        assert_eq!(store.load(&changed.id).await.unwrap(), Some(changed));
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_a_save_does_not_bring_it_back() {
    on_each(async |store| {
        let mut made = record();
        store.create(&mut made).await.unwrap();
        store.delete(&made.id).await.unwrap();
        assert_eq!(store.load(&made.id).await.unwrap(), None);
        store.delete(&made.id).await.unwrap();
        let refused = store.save(&made).await.unwrap_err();
        assert!(matches!(refused, Error::Backend(_)), "{refused}");
        assert_eq!(store.load(&made.id).await.unwrap(), None);
        // Its id is free.
        let id = made.id;
        store.create(&mut made).await.unwrap();
        assert_eq!(made.id, id);
    })
    .await;
}

#[tokio::test]
async fn a_session_nobody_made_is_not_there() {
    on_each(async |store| {
        assert_eq!(store.load(&Id::default()).await.unwrap(), None);
        assert!(store.save(&record()).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_expired_session_is_not_loaded_and_is_removed() {
    on_each(async |store| {
        let past = OffsetDateTime::now_utc() - Duration::seconds(1);
        let mut made = record();
        store.create(&mut made).await.unwrap();
        made.expiry_date = past;
        store.save(&made).await.unwrap();
        assert_eq!(store.load(&made.id).await.unwrap(), None);
        let mut never = Record {
            expiry_date: past,
            ..record()
        };
        store.create(&mut never).await.unwrap();
        assert_eq!(store.load(&never.id).await.unwrap(), None);
        store.delete_expired().await.unwrap();
        assert_eq!(store.records().clean_up().await.unwrap(), 0, "nothing was left");
    })
    .await;
}

#[tokio::test]
async fn expiry_is_exact_and_judged_by_the_stores_clock() {
    let clock = ManualClock::new();
    // Where the calendar is.
    clock.set(StdDuration::from_secs(OffsetDateTime::now_utc().unix_timestamp() as u64));
    let records = SessionRecords::builder(MemoryStore::with_clock(clock.clone()))
        .clock(clock.clone())
        .build()
        .unwrap();
    let store = RecordStore::new(records);
    let mut made = record();
    made.expiry_date = OffsetDateTime::from_unix_timestamp(clock.elapsed().as_secs() as i64).unwrap();
    made.expiry_date += Duration::minutes(30);
    store.create(&mut made).await.unwrap();
    clock.advance(StdDuration::from_secs(30 * 60) - StdDuration::from_micros(1));
    assert_eq!(store.load(&made.id).await.unwrap(), Some(made.clone()));
    clock.advance(StdDuration::from_micros(1));
    assert_eq!(store.load(&made.id).await.unwrap(), None, "from the cache neither");
}

#[tokio::test]
async fn what_breaks_a_limit_is_an_error_and_changes_nothing() {
    on_each(async |store| {
        let mut made = record();
        store.create(&mut made).await.unwrap();
        let mut large = made.clone();
        large.data.insert("large".to_owned(), "x".repeat(20_000).into());
        for refused in [store.save(&large).await, store.create(&mut large.clone()).await] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Error::Encode(_)), "{refused}");
            assert!(!refused.to_string().contains("xxx"), "no value is repeated");
        }
        assert_eq!(store.load(&made.id).await.unwrap(), Some(made));
    })
    .await;
}

#[tokio::test]
async fn the_id_is_not_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Arc::new(SqliteStore::open(dir.path().join("sessions.db")).await.unwrap());
    let store = over(ours.clone());
    let mut made = record();
    store.create(&mut made).await.unwrap();
    store
        .records()
        .set_user(&session_id(made.id), Some("ada"))
        .await
        .unwrap();
    ours.shutdown().await;
    let mut dump = Vec::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        dump.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |what: &[u8]| dump.windows(what.len()).any(|part| part == what);
    assert!(holds(b"ada"));
    assert!(!holds(made.id.to_string().as_bytes()));
    assert!(!holds(&made.id.0.to_le_bytes()) && !holds(&made.id.0.to_be_bytes()));
}
