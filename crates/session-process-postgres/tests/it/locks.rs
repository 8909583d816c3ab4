//! Locks on nodes that share a real database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use session_process::{
    SessionId,
    locks::Locks,
    records::{NewSession, SessionRecords, UpdateError},
    store::{
        Acquired, Change, Conflict, Edit, Expect, Fence, Holder, LockName, LockStore, Op, SessionKey, SessionStore,
    },
};
use session_process_postgres::{Builder, PostgresStore};
use testkit::{
    conformance::StoreUnderTest,
    postgres::{Proxy, Server, Way},
};

use crate::support::{Fresh, apply, change, fresh, fresh_on, kill};

const LEASE: Duration = Duration::from_secs(60);

fn locks(store: &PostgresStore) -> Locks {
    Locks::new(store.clone()).with_lease(LEASE)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_tasks_on_three_nodes_are_never_two_at_a_time() {
    let fresh = fresh().await;
    let nodes = [
        locks(&fresh.store),
        locks(&fresh.node().await),
        locks(&fresh.node().await),
    ];
    let inside = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let (locks, inside) = (nodes[n % 3].clone(), Arc::clone(&inside));
            tokio::spawn(async move {
                let lock = locks.lock("a").await.unwrap();
                assert!(!inside.swap(true, Ordering::AcqRel), "somebody else is here");
                tokio::task::yield_now().await;
                inside.store(false, Ordering::Release);
                let token = lock.token();
                assert!(lock.release().await.unwrap());
                token
            })
        })
        .collect();
    let mut tokens = std::collections::BTreeSet::new();
    for task in tasks {
        tokens.insert(task.await.unwrap());
    }
    assert_eq!(tokens.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_is_told_when_another_gives_the_lock_up() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let name = LockName::new("it's \"100%\" \u{1F980} \0 \\");
    let (first, second) = (Holder::random().unwrap(), Holder::random().unwrap());
    for _ in 0..5 {
        let held = fresh.store.acquire(&name, first, LEASE).await.unwrap();
        assert!(matches!(held, Acquired::Held(_)));
        let freed = other.freed(name.key());
        let busy = other.acquire(&name, second, LEASE).await.unwrap();
        assert!(matches!(busy, Acquired::Busy { .. }));
        assert!(fresh.store.release(name.key(), first).await.unwrap());
        freed.await;
    }
}

/// And the notification of it is lost as well, with the connection that listens.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_answer_is_lost_is_told_to_those_who_wait_on_the_same_node() {
    let fresh = fresh().await;
    let proxy = Proxy::before(&fresh.database.config()).await;
    let store = Builder::from_config(proxy.config(&fresh.database.config()))
        .open()
        .await
        .unwrap();
    let name = LockName::new("a");
    let (first, second) = (Holder::random().unwrap(), Holder::random().unwrap());
    // On a connection that is made for it, and so the newest.
    store.acquire(&name, first, LEASE).await.unwrap();
    let freed = store.freed(name.key());
    let busy = store.acquire(&name, second, LEASE).await.unwrap();
    assert!(matches!(busy, Acquired::Busy { .. }));
    proxy.lose_on_newest(Way::ToNode);
    let release = tokio::spawn({
        let (store, key) = (store.clone(), name.key());
        async move { store.release(key, first).await }
    });
    let admin = fresh.database.connect().await;
    let held = "SELECT FROM session_process.locks WHERE held";
    while !admin.query(held, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.cut();
    let told = tokio::time::timeout(Duration::from_secs(10), freed).await;
    assert!(told.is_ok(), "it waits for a lock that is free");
    assert!(release.await.unwrap().is_err());
}

/// A write that is under way when its lock goes to somebody else is in the database before that, or never.
#[tokio::test(flavor = "multi_thread")]
async fn when_another_has_the_lock_nothing_more_is_written_under_the_old_token() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let (name, key) = (LockName::new("a"), SessionKey::from_bytes([1; 32]));
    apply(&fresh.store, change(key, Op::Create(Box::default())))
        .await
        .unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        let Acquired::Held(token) = fresh
            .store
            .acquire(&name, Holder::random().unwrap(), LEASE)
            .await
            .unwrap()
        else {
            panic!("it is free")
        };
        let fence = Fence {
            lock: name.key(),
            token,
        };
        let store = fresh.store.clone();
        let writes = tokio::spawn(async move {
            for n in 0.. {
                let edit = Edit {
                    fence: Some(fence),
                    ..Edit::default()
                };
                match apply(&store, change(key, Op::Edit(Box::new(edit)))).await {
                    Ok(_) => {}
                    Err(conflict) => {
                        assert_eq!(conflict, Conflict::Fence { lock: fence.lock });
                        return n;
                    }
                }
            }
            0
        });
        // Its lease is over, and it goes on.
        StoreUnderTest::advance(&fresh, LEASE);
        let next = Holder::random().unwrap();
        let held = other.acquire(&name, next, LEASE).await.unwrap();
        assert!(matches!(held, Acquired::Held(_)), "{held:?}");
        let seen = other.load(&[key]).await.unwrap().remove(0).unwrap().version;
        refused += writes.await.unwrap();
        let after = other.load(&[key]).await.unwrap().remove(0).unwrap().version;
        assert_eq!(seen, after, "something was written after the lock had gone to another");
        assert!(other.release(name.key(), next).await.unwrap());
    }
    assert!(refused > 0, "no write was ever under way");
}

/// gopgsession: "anyone can unlock"; and a listener or a pool that dies takes no lock along.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_no_lost_lock() {
    let fresh = fresh().await;
    let other = locks(&fresh.node().await);
    let lock = locks(&fresh.store).lock("a").await.unwrap();
    let admin = fresh.database.connect().await;
    for _ in 0..3 {
        kill(&admin, "true").await;
        // As a renewal does: it may be refused as long as the connection is made again.
        while !matches!(lock.extend(LEASE).await, Ok(true)) {
            assert!(lock.is_held());
            tokio::task::yield_now().await;
        }
        let busy = loop {
            match other.try_lock("a").await {
                Ok(lock) => break lock,
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        };
        assert!(busy.is_none());
    }
    while !matches!(lock.extend(LEASE).await, Ok(true)) {
        tokio::task::yield_now().await;
    }
    assert!(lock.release().await.unwrap());
    assert!(other.lock("a").await.unwrap().is_held());
}

/// The holder's node gets no connection any more: it is told in time, by its own clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_knows_that_its_lock_is_lost_before_another_gets_it() {
    let fresh = fresh_on(Server::local().await).await;
    let mut config = fresh.database.config();
    config.application_name("cut off");
    let role = format!("{}_role", fresh.database.name());
    let admin = fresh.database.connect().await;
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA session_process TO {role}; GRANT ALL ON ALL TABLES IN \
             SCHEMA session_process TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA session_process TO {role}"
        ))
        .await
        .unwrap();
    config.user(&role);
    let cut_off = Builder::from_config(config).open().await.unwrap();
    let lease = Duration::from_secs(2);
    let lock = Locks::new(cut_off).with_lease(lease).lock("a").await.unwrap();
    admin
        .batch_execute(&format!(
            "ALTER ROLE {role} NOLOGIN; SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE \
             application_name = 'cut off' AND datname = current_database()"
        ))
        .await
        .unwrap();
    let next = tokio::spawn({
        let locks = locks(&fresh.store);
        async move { locks.lock("a").await.unwrap() }
    });
    lock.lost().await;
    assert!(!lock.is_held());
    assert!(!next.is_finished(), "a tenth of the lease is left");
    let next = next.await.unwrap();
    assert!(next.token() > lock.token());
    admin
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
}

async fn session(fresh: &Fresh) -> (SessionRecords, SessionId) {
    let records = SessionRecords::builder(fresh.store.clone())
        .build()
        .expect("good settings");
    let id = records.create(NewSession::new().attribute("n", 0)).await.unwrap().id;
    (records, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_under_a_lock_and_without_one_add_up() {
    let fresh = fresh().await;
    let (records, id) = session(&fresh).await;
    let lock = locks(&fresh.store).lock(LockName::of_session(&id, "n")).await.unwrap();
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let (records, id, fence) = (records.clone(), id.clone(), lock.fence());
            tokio::spawn(async move {
                let mut add =
                    |attributes: &mut session_process::Attributes| attributes.update("n", |n: &mut u32| *n += 1);
                if n % 2 == 0 {
                    records.update_under(&id, fence, &mut add).await.unwrap();
                } else {
                    records.update(&id, &mut add).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let view = records.get_fresh(&id).await.unwrap().unwrap();
    assert_eq!(view.get::<u32>("n").unwrap(), Some(60));
    let fence = lock.fence();
    assert!(lock.release().await.unwrap());
    let late = records
        .update_under(&id, fence, |attributes| attributes.insert("n", 0))
        .await;
    assert!(matches!(late, Err(UpdateError::LockLost)), "{late:?}");
}

/// Fenced and plain changes, and changes under a limit, of one batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_mix_what_is_fenced_and_what_is_not() {
    let fresh = fresh().await;
    let name = LockName::new("a");
    let Acquired::Held(token) = fresh
        .store
        .acquire(&name, Holder::random().unwrap(), LEASE)
        .await
        .unwrap()
    else {
        panic!("it is free")
    };
    let keys: Vec<SessionKey> = (1..=6).map(|n| SessionKey::from_bytes([n * 2; 32])).collect();
    let created = keys
        .iter()
        .map(|key| change(*key, Op::Create(Box::default())))
        .collect();
    assert!(fresh.store.commit(created).await.unwrap().iter().all(Result::is_ok));
    let edits = keys.iter().enumerate().map(|(n, key)| {
        let good = Fence {
            lock: name.key(),
            token,
        };
        let bad = Fence {
            lock: LockName::new("b").key(),
            token,
        };
        Change {
            key: *key,
            expect: Expect::default(),
            op: Op::Edit(Box::new(Edit {
                fence: [None, Some(good), Some(bad)][n % 3],
                ..Edit::default()
            })),
        }
    });
    let outcomes = fresh.store.commit(edits.collect()).await.unwrap();
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome.is_ok(), n % 3 != 2, "{n}: {outcome:?}");
    }
}
