//! The database refuses, waits or runs out of something: an error for whoever it concerns, and the writer goes on.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use session_process::store::{
    Create, Op, Owner, OwnerLimit, OwnerLimitPolicy, OwnerText, SessionKey, SessionStore, Snapshot, StoreError, Touch,
};
use session_process_postgres::Builder;
use testkit::postgres::{Disk, Server};
use tokio_postgres::error::SqlState;

use crate::support::{apply, change, clear_the_way, fresh, fresh_on, kill, obstruct};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_locks_holds_up_its_own_session_alone() {
    let fresh = fresh().await;
    let store = Builder::from_config(fresh.database.config())
        .lock_timeout(Duration::from_millis(200))
        .writers(NonZeroUsize::MIN)
        .open()
        .await
        .unwrap();
    let (locked, free) = (SessionKey::from_bytes([1; 32]), SessionKey::from_bytes([2; 32]));
    for key in [locked, free] {
        apply(&store, change(key, Op::Create(Box::default()))).await.unwrap();
    }
    let mut client = fresh.database.connect().await;
    let transaction = client.transaction().await.unwrap();
    let lock = "SELECT 1 FROM session_process.session WHERE key = $1 FOR UPDATE";
    transaction.query(lock, &[&&locked.as_bytes()[..]]).await.unwrap();
    let edit = |key| vec![change(key, Op::Edit(Box::default()))];
    // The first occupies the writer, so that the other two go together.
    let (first, held, other) = tokio::join!(
        store.commit(edit(free)),
        store.commit(edit(locked)),
        store.commit(edit(free))
    );
    assert!(first.unwrap()[0].is_ok());
    assert!(matches!(held, Err(StoreError::Timeout { .. })), "{held:?}");
    assert!(other.unwrap()[0].is_ok());
    transaction.rollback().await.unwrap();
    assert!(
        apply(&store, change(locked, Op::Delete)).await.is_ok(),
        "the writer goes on"
    );
}

/// PostgreSQL takes milliseconds, and 0 of them for no limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_a_millisecond_is_one() {
    let fresh = fresh().await;
    let store = Builder::from_config(fresh.database.config())
        .lock_timeout(Duration::from_micros(500))
        .timeout(Duration::from_secs(60))
        .open()
        .await
        .unwrap();
    apply(&fresh.store, change(key(1), Op::Create(Box::default())))
        .await
        .unwrap();
    let mut client = fresh.database.connect().await;
    let transaction = client.transaction().await.unwrap();
    let lock = "SELECT 1 FROM session_process.session FOR UPDATE";
    transaction.query(lock, &[]).await.unwrap();
    let held = tokio::time::timeout(Duration::from_secs(20), store.commit(plain(1))).await;
    let held = held.expect("it waits for the row");
    assert!(matches!(held, Err(StoreError::Timeout { .. })), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_fails_alone() {
    let fresh = fresh().await;
    let keys: Vec<SessionKey> = (0..8).map(|n| SessionKey::from_bytes([n; 32])).collect();
    let tasks: Vec<_> = keys
        .iter()
        .map(|key| {
            let (store, key) = (fresh.store.clone(), *key);
            tokio::spawn(async move {
                let create = Create {
                    snapshot: Some(Snapshot {
                        // PostgreSQL keeps no NUL in a text.
                        kind: if key.as_bytes()[0] == 3 { "a\0" } else { "a" }.into(),
                        schema: 1,
                        bytes: [1, 2, 3][..].into(),
                    }),
                    ..Default::default()
                };
                store.commit(vec![change(key, Op::Create(Box::new(create)))]).await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let outcome = task.await.unwrap();
        assert_eq!(outcome.is_ok(), n != 3, "{n}: {outcome:?}");
    }
    let found = fresh.store.load(&keys).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 7);
}

fn key(n: u8) -> SessionKey {
    SessionKey::from_bytes([n; 32])
}

fn plain(n: u8) -> Vec<session_process::store::Change> {
    vec![change(key(n), Op::Edit(Box::default()))]
}

fn limited(n: u8) -> Vec<session_process::store::Change> {
    let create = Create {
        user_id: Some(OwnerText::new("ada").unwrap()),
        limit: Some(OwnerLimit {
            max: NonZeroU32::new(2).unwrap(),
            policy: OwnerLimitPolicy::EvictOldest,
        }),
        ..Create::default()
    };
    vec![change(key(n), Op::Create(Box::new(create)))]
}

/// gopgsession: "8 tasks updating 5 attributes": 137 of 160 end in deadlock.
///
/// Also with the limit of the default: PostgreSQL waits a second before it looks for one, and says nothing of it where the
/// wait for the row is over in the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_tried_again() {
    deadlocks(|builder| builder).await;
    deadlocks(|builder| builder.lock_timeout(Duration::from_secs(10))).await;
}

async fn deadlocks(limited: impl Fn(Builder) -> Builder) {
    let fresh = fresh().await;
    let store = limited(Builder::from_config(fresh.database.config()))
        .timeout(Duration::from_secs(20))
        .writers(NonZeroUsize::MIN)
        .open()
        .await
        .unwrap();
    for n in [1, 2] {
        apply(&store, change(key(n), Op::Create(Box::default()))).await.unwrap();
    }
    let mut client = fresh.database.connect().await;
    let watcher = fresh.database.connect().await;
    let lock = "SELECT 1 FROM session_process.session WHERE key = $1 FOR UPDATE";
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    loop {
        let transaction = client.transaction().await.unwrap();
        transaction.query(lock, &[&&key(2).as_bytes()[..]]).await.unwrap();
        let both = tokio::spawn({
            let store = store.clone();
            async move {
                let changes = [plain(1), plain(2)].concat();
                store.commit(changes).await
            }
        });
        // It has the first and waits for the second; it finds out about the deadlock first, as it waits for longer.
        while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 && !both.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let locked = transaction.query(lock, &[&&key(1).as_bytes()[..]]).await;
        match &locked {
            Ok(_) => transaction.commit().await.unwrap(),
            // On a busy machine: it looked for a deadlock, once, before there was one. Then the test is the victim.
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED), "{error}");
                transaction.rollback().await.unwrap();
            }
        }
        match both.await.unwrap() {
            Ok(outcomes) => {
                assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
                if locked.is_ok() {
                    break;
                }
            }
            // Or it gave up before there was one.
            Err(error) => assert!(matches!(error, StoreError::Timeout { .. }), "{error:?}"),
        }
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    // Whoever was the victim of it reports it within a second.
    while watcher.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialisation_failure_is_tried_again_whatever_was_to_be_changed() {
    let fresh = fresh().await;
    for n in [1, 2, 3] {
        apply(&fresh.store, change(key(n), Op::Create(Box::default())))
            .await
            .unwrap();
    }
    let client = fresh.database.connect().await;
    client.batch_execute("CREATE SEQUENCE public.times").await.unwrap();
    obstruct(
        &client,
        "IF nextval('public.times') < 4 THEN RAISE EXCEPTION 'as told' USING ERRCODE = 'serialization_failure'; \
         END IF;",
    )
    .await;
    let store = &fresh.store;
    let commits = [
        plain(1),
        vec![change(key(4), Op::Create(Box::default()))],
        vec![change(key(2), Op::Rotate(key(5)))],
        vec![change(key(3), Op::Delete)],
        limited(6),
        limited(7),
        // One of two has to go.
        limited(8),
        [plain(1), vec![change(key(4), Op::Delete)]].concat(),
    ];
    let again = "SELECT setval('public.times', 1, false)";
    for changes in commits {
        client.query_one(again, &[]).await.unwrap();
        let outcomes = store.commit(changes.clone()).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{changes:?}: {outcomes:?}");
    }
    let touch = Touch {
        key: key(1),
        accessed_at: store.now(),
    };
    client.query_one(again, &[]).await.unwrap();
    store.touch(vec![touch]).await.unwrap();
    clear_the_way(&client).await;
    let left = store.list(&Owner::Everyone, None, 100).await.unwrap();
    assert_eq!(left.len(), 4, "1, 5, and two of ada's");
}

/// The server gives up first, so the connection is as good as before, and only the slow one fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_fails_alone_and_the_writer_goes_on() {
    let fresh = fresh().await;
    let client = fresh.database.connect().await;
    let store = Builder::from_config(fresh.database.config())
        .timeout(Duration::from_millis(700))
        .writers(NonZeroUsize::MIN)
        .open()
        .await
        .unwrap();
    for n in [1, 2, 9] {
        apply(&store, change(key(n), Op::Create(Box::default()))).await.unwrap();
    }
    obstruct(
        &client,
        "IF get_byte(OLD.key, 0) = 9 THEN PERFORM pg_sleep(60); END IF;",
    )
    .await;
    let pids = || backends(&client);
    let before = pids().await;
    // The first occupies the writer, so that the others go together.
    let (one, slow, two) = tokio::join!(store.commit(plain(1)), store.commit(plain(9)), store.commit(plain(2)));
    assert!(matches!(slow, Err(StoreError::Timeout { .. })), "{slow:?}");
    assert!(one.unwrap()[0].is_ok() && two.unwrap()[0].is_ok());
    assert_eq!(pids().await, before, "on the same connections");
    clear_the_way(&client).await;
    assert!(store.commit(plain(9)).await.unwrap()[0].is_ok());
}

async fn backends(client: &tokio_postgres::Client) -> Vec<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = \
               'session-process' ORDER BY pid";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// By a limit on the size of files, which needs no rights: what is over it doesn't get onto the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_the_writer_goes_on_when_there_is_room() {
    let server = Server::private(Disk::Careless).await;
    let database = server.database().await;
    let store = Builder::from_config(database.config()).open().await.unwrap();
    let large = |n: u32| {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let create = Create {
            snapshot: Some(Snapshot {
                kind: "cart".into(),
                schema: 1,
                bytes: vec![n.to_be_bytes()[3]; 1_500].into(),
            }),
            ..Create::default()
        };
        change(SessionKey::from_bytes(key), Op::Create(Box::new(create)))
    };
    // More than a segment of the log, which is 16 MiB and must not meet the limit.
    store.commit((0..8_000).map(large).collect()).await.unwrap();
    let client = database.connect().await;
    let size = "SELECT pg_relation_size('session_process.session')";
    let size: i64 = client.query_one(size, &[]).await.unwrap().get(0);
    assert!(size > 17 << 20, "{size}");
    let before = backends(&client).await;
    // In the midst of the next page.
    server.limit_files(Some(size.unsigned_abs() + 4_096));
    let mut refused = None;
    for n in 8_000..9_000 {
        if let Err(error) = store.commit(vec![large(n)]).await {
            refused = Some((n, error));
            break;
        }
    }
    let (n, error) = refused.expect("the disk is full");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(store.commit(vec![large(n)]).await.is_err(), "it is still full");
    assert!(store.load(&[large(0).key]).await.unwrap()[0].is_some(), "reads go on");
    assert_eq!(store.load(&[large(n).key]).await.unwrap(), [None]);
    server.limit_files(None);
    assert!(store.commit(vec![large(n)]).await.unwrap()[0].is_ok());
    let after = backends(&client).await;
    assert!(before.iter().all(|pid| after.contains(pid)), "on the same connections");
}

/// A standby after a failover, or an administrator who has the database to himself.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_is_away_for_writes_alone() {
    let fresh = fresh().await;
    apply(&fresh.store, change(key(1), Op::Create(Box::default())))
        .await
        .unwrap();
    let client = fresh.database.connect().await;
    let name = fresh.database.name();
    client
        .batch_execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"))
        .await
        .unwrap();
    kill(&client, "true").await;
    while fresh.store.load(&[key(1)]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let refused = fresh.store.commit(plain(1)).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    assert!(fresh.store.load(&[key(1)]).await.unwrap()[0].is_some());
    client
        .batch_execute(&format!(
            "SET default_transaction_read_only = off; ALTER DATABASE {name} RESET ALL"
        ))
        .await
        .unwrap();
    kill(&client, "true").await;
    while fresh.store.commit(plain(1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// gopgsession: a pool of one connection hangs.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_connections_are_an_error_and_never_a_wait_for_good() {
    let fresh = fresh_on(Server::local().await).await;
    let role = format!("{}_few", fresh.database.name());
    let client = fresh.database.connect().await;
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA session_process TO {role}; GRANT ALL ON \
             ALL TABLES IN SCHEMA session_process TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA session_process TO \
             {role}"
        ))
        .await
        .unwrap();
    let mut config = fresh.database.config();
    config.user(&role);
    let builder = || {
        Builder::from_config(config.clone())
            .writers(NonZeroUsize::MIN)
            .readers(NonZeroUsize::MIN)
    };
    // The one is that which listens.
    let store = builder().open().await.unwrap();
    let begun = std::time::Instant::now();
    let refused = store.commit(limited(1)).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    let said = std::error::Error::source(&refused).map(|source| format!("{source:?}"));
    assert!(said.unwrap_or_default().contains("too many connections"), "{refused:?}");
    store.shutdown().await;
    // One each for writing, reading and listening is enough.
    client
        .batch_execute(&format!("ALTER ROLE {role} CONNECTION LIMIT 3"))
        .await
        .unwrap();
    let store = loop {
        // The server may not have noticed yet that the other one has gone.
        match builder().open().await {
            Ok(store) => break store,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    // As above.
                    if let Ok(outcomes) = store.commit(vec![change(key(n), Op::Create(Box::default()))]).await {
                        break outcomes;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let keys: Vec<SessionKey> = (0..64).map(key).collect();
    let loaded = loop {
        // As above: this is the first that reads.
        match store.load(&keys).await {
            Ok(loaded) => break loaded,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(loaded.iter().flatten().count(), 64);
    store.shutdown().await;
    client
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
}
