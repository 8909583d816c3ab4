//! What gopgsession gets wrong, each by its name in the project's list, on two nodes.
//!
//! | Scenario | Where, if not here |
//! |---|---|
//! | a commit is refused by the database | |
//! | a session or an attribute expired an hour ago | |
//! | used every minute for 6 minutes, idle limit 5 | |
//! | 1 MiB attribute at creation; a key of 1 MiB | |
//! | delete a user's 500 sessions | `nodes`, 10,000 of them |
//! | cleanup of 500 expired sessions | |
//! | 64 increments at once | `nodes`, `totals` |
//! | lock with lease 1 s, heartbeat 200 ms, holder alive; anyone can unlock | and `locks` of `session-process` |
//! | a clock 61 s ahead steals at once | `clocks` |
//! | a row deleted behind the cache, read with forced refresh | |
//! | 8 tasks updating 5 attributes of one session, 20 times | |
//! | 2,000 updates of one session | |
//! | listener away 5 s, an update meanwhile | `faults`, `network` |
//! | recovery with 66,000 cached sessions | |
//! | 200 reads of one uncached session at once | |
//! | a node's late flush | |
//! | limit 2 for a user | |
//! | stale delete of an attribute; stale group change | |
//! | prefix with a quote; prefix of 60 characters | `schema` |
//! | second shutdown | |
//! | pool of one connection | `failures` |

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use session_process::{
    AttributeError, ManualClock, SessionId,
    locks::Locks,
    records::{CacheLimit, NewSession, RecordError, RecordHandle, SessionRecords, UpdateError},
    store::{
        Change, Conflict, Edit, Expect, Holder, LockName, LockStore, Op, Owner, OwnerLimit, OwnerLimitPolicy,
        OwnerText, SessionKey, SessionStore, StoreError,
    },
};
use testkit::{Asked, Hooked, Hooks, conformance::StoreUnderTest};

use crate::support::{Fresh, apply, clear_the_way, fresh, kill, obstruct, records, records_with};

const MINUTE: Duration = Duration::from_secs(60);

async fn two() -> (Fresh, SessionRecords, SessionRecords) {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let (one, two) = (records(&fresh.store), records(&other));
    (fresh, one, two)
}

fn ada() -> Owner {
    Owner::User(OwnerText::new("ada").unwrap())
}

async fn n(records: &SessionRecords, id: &SessionId) -> Option<u64> {
    let found = records.get(id).await.expect("the database is there")?;
    found.get("n").expect("a number")
}

async fn set(records: &SessionRecords, id: &SessionId, to: u64) -> Result<(), UpdateError<AttributeError>> {
    records.update(id, |attributes| attributes.insert("n", to)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refused_to_commit_is_in_no_cache() {
    let (fresh, one, two) = two().await;
    let id = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    assert_eq!((n(&one, &id).await, n(&two, &id).await), (Some(1), Some(1)));
    let client = fresh.database.connect().await;
    obstruct(&client, "RAISE EXCEPTION 'as told';").await;
    let new = SessionId::generate();
    let refused = one.create_with_id(new.clone(), NewSession::new()).await;
    assert!(
        matches!(refused, Err(RecordError::Store(StoreError::Failed { .. }))),
        "{refused:?}"
    );
    let refused = set(&one, &id, 2).await;
    assert!(
        matches!(refused, Err(UpdateError::Store(StoreError::Failed { .. }))),
        "{refused:?}"
    );
    assert!(one.delete(&id).await.is_err());
    for node in [&one, &two] {
        assert!(node.get(&new).await.unwrap().is_none());
        assert_eq!(n(node, &id).await, Some(1));
    }
    clear_the_way(&client).await;
    set(&one, &id, 2).await.unwrap();
    assert_eq!(n(&one, &id).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_an_hour_ago_is_neither_served_nor_changed() {
    let (fresh, one, two) = two().await;
    let new = NewSession::for_user("ada").attribute("n", 1).lives(10 * MINUTE);
    let id = one.create(new).await.unwrap().id;
    let stays = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    let insert = one.update(&stays, |attributes| attributes.insert_expiring("code", 7, 10 * MINUTE));
    insert.await.unwrap();
    for node in [&one, &two] {
        assert_eq!(n(node, &id).await, Some(1), "cached");
        // Not before it has heard of it.
        while node.get(&stays).await.unwrap().unwrap().get::<u64>("code").unwrap() != Some(7) {
            tokio::task::yield_now().await;
        }
    }
    fresh.advance(70 * MINUTE);
    for node in [&one, &two] {
        assert!(node.get(&id).await.unwrap().is_none() && node.get_fresh(&id).await.unwrap().is_none());
        assert!(matches!(set(node, &id, 2).await, Err(UpdateError::Missing)));
        assert!(node.list(&ada(), None, 10).await.unwrap().is_empty());
        let view = node.get(&stays).await.unwrap().unwrap();
        assert_eq!(view.get::<u64>("code").unwrap(), None);
        let seen = node.update(&stays, |attributes| attributes.get::<u64>("code")).await;
        assert_eq!(seen.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_used_every_minute_is_not_idle_after_six() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let clock = ManualClock::new();
    let node = |store| {
        records_with(store)
            .idle_timeout(5 * MINUTE)
            .access_flush(10 * MINUTE, 5_000)
            .clock(clock.clone())
            .build()
            .unwrap()
    };
    let (one, two) = (node(&fresh.store), node(&other));
    let id = one.create(NewSession::new()).await.unwrap().id;
    let admin = fresh.database.connect().await;
    // By the database's clock, which the test has turned.
    let left = async || {
        let sql = "SELECT ends_at - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM \
                   session_process.session";
        let left: i64 = admin.query_one(sql, &[]).await.unwrap().get(0);
        left - fresh.clock.load(Ordering::Acquire)
    };
    for step in 1..=72 {
        fresh.advance(MINUTE / 6);
        clock.advance(MINUTE / 6);
        if step % 6 == 0 {
            assert!(one.get(&id).await.unwrap().is_some());
        }
        // It is told in time, half a minute before the end at the latest, though the flush is not due for long. (The step
        // may just have crossed that.)
        while left().await < 19_000_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(
            two.clean_up().await.unwrap(),
            0,
            "the other node removes nothing that is in use here"
        );
    }
    // And unused it is gone, at both.
    fresh.advance(6 * MINUTE);
    clock.advance(6 * MINUTE);
    assert!(one.get(&id).await.unwrap().is_none() && two.get(&id).await.unwrap().is_none());
    assert_eq!(two.clean_up().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_attributes_hold_at_creation_too() {
    let (fresh, one, _two) = two().await;
    let large = "x".repeat(1 << 20);
    let refused = one.create(NewSession::new().attribute("a", &large)).await;
    assert!(matches!(refused, Err(RecordError::Attribute(_))), "{refused:?}");
    let refused = one.create(NewSession::new().attribute(&*large, 1)).await;
    assert!(matches!(refused, Err(RecordError::Attribute(_))), "{refused:?}");
    let id = one.create(NewSession::new()).await.unwrap().id;
    let refused = one.update(&id, |attributes| attributes.insert("a", &large)).await;
    assert!(matches!(refused, Err(UpdateError::Refused(_))), "{refused:?}");
    assert_eq!(fresh.store.list(&Owner::Everyone, None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_that_are_cleaned_up_are_served_by_no_node() {
    let (fresh, one, two) = two().await;
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let (one, two) = (one.clone(), two.clone());
            tokio::spawn(async move {
                let id = one.create(NewSession::new().idle_timeout(MINUTE)).await.unwrap().id;
                assert!(two.get(&id).await.unwrap().is_some());
                id
            })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    fresh.advance(2 * MINUTE);
    let mut removed = 0;
    // The slice of one that is at work is not the other's; so both together.
    while removed < 500 {
        removed += one.clean_up().await.unwrap() + two.clean_up().await.unwrap();
    }
    for id in &ids {
        assert!(one.get(id).await.unwrap().is_none() && two.get(id).await.unwrap().is_none());
    }
    assert_eq!(removed, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_deleted_behind_the_cache_stays_gone_after_a_forced_refresh() {
    let (fresh, one, two) = two().await;
    let id = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    assert_eq!((n(&one, &id).await, n(&two, &id).await), (Some(1), Some(1)));
    let client = fresh.database.connect().await;
    client
        .batch_execute("DELETE FROM session_process.session")
        .await
        .unwrap();
    for node in [&one, &two] {
        assert!(node.get_fresh(&id).await.unwrap().is_none());
        assert!(node.get(&id).await.unwrap().is_none(), "nor by the next plain read");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_tasks_that_update_five_attributes_of_one_session_all_succeed() {
    let (_fresh, one, two) = two().await;
    let id = one.create(NewSession::for_user("ada")).await.unwrap().id;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (node, id) = (if task % 2 == 0 { one.clone() } else { two.clone() }, id.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    let update = node.update(&id, |attributes| {
                        (0..5).try_for_each(|name| attributes.update(&format!("n{name}"), |n: &mut u64| *n += 1))
                    });
                    update.await.expect("no deadlock");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let found = two.get_fresh(&id).await.unwrap().unwrap();
    for name in 0..5 {
        assert_eq!(found.get::<u64>(&format!("n{name}")).unwrap(), Some(160));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_updates_of_a_session_leave_one_entry_and_its_deletion_none() {
    let (fresh, one, two) = two().await;
    let id = one.create(NewSession::for_user("ada")).await.unwrap().id;
    for to in 0..2_000 {
        set(&one, &id, to).await.unwrap();
    }
    let row = fresh.database.connect().await;
    let rows = || {
        row.query_one(
            "SELECT count(*) FROM session_process.session WHERE user_id = 'ada'",
            &[],
        )
    };
    assert_eq!(one.list(&ada(), None, 10).await.unwrap().len(), 1);
    assert_eq!(rows().await.unwrap().get::<_, i64>(0), 1);
    assert_eq!(one.stats().cached, 1);
    assert!(two.delete(&id).await.unwrap());
    while one.get(&id).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(one.list(&ada(), None, 10).await.unwrap().is_empty());
    assert_eq!(rows().await.unwrap().get::<_, i64>(0), 0);
    assert_eq!((one.stats().cached, two.stats().cached), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_of_sixty_six_thousand_recovers() {
    const MANY: usize = 66_000;
    let fresh = fresh().await;
    let other = fresh.node().await;
    let node = |store| records_with(store).cache(CacheLimit::Entries(80_000)).build().unwrap();
    let (one, two) = (node(&fresh.store), node(&other));
    let ids: Arc<Vec<SessionId>> = Arc::new((0..MANY).map(|_| SessionId::generate()).collect());
    let admin = fresh.database.connect().await;
    let keys: Vec<SessionKey> = ids.iter().map(SessionKey::of).collect();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
    let create = "INSERT INTO session_process.session (key, version, born, created_at, accessed_at, ends_at, sweep_at) \
                  SELECT key, 65536, 65536, now, now, 9223372036854775807, 9223372036854775807 FROM \
                  unnest($1::bytea[]) AS key, (SELECT (extract(epoch FROM now()) * 1000000)::bigint AS now) AS t";
    admin.execute(create, &[&keys]).await.unwrap();
    let readers: Vec<_> = (0..100)
        .map(|reader| {
            let (two, ids) = (two.clone(), Arc::clone(&ids));
            tokio::spawn(async move {
                for id in ids.iter().skip(reader).step_by(100) {
                    assert!(two.get(id).await.unwrap().is_some());
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(two.stats().cached, MANY);
    let mut events = other.changes();
    kill(&admin, "true").await;
    while events.next().await != Some(session_process::store::Notice::Hearing) {}
    let (first, last) = (&ids[0], &ids[MANY - 1]);
    for (to, id) in [(1, first), (2, last)] {
        while set(&one, id, to).await.is_err() {}
        while n(&two, id).await != Some(to) {
            tokio::task::yield_now().await;
        }
    }
    assert!(two.stats().cache_in_use);
}

/// How often a store was asked for records.
#[derive(Default)]
struct Loads(AtomicUsize);

impl Hooks for Loads {
    async fn before(&self, asked: Asked, _: &[Change], _: &dyn SessionStore) -> Result<(), StoreError> {
        if asked == Asked::Load {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reads_of_an_uncached_session_at_once_are_one_load_or_two() {
    let fresh = fresh().await;
    let store = Arc::new(Hooked::<_, Loads>::over(fresh.node().await));
    let node = SessionRecords::builder_over(Arc::clone(&store) as Arc<dyn SessionStore>);
    let node = node.cleanup_interval(None).build().unwrap();
    let one = records(&fresh.store);
    let id = one.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    // All of them stand at the line before one of them runs.
    let line = Arc::new(tokio::sync::Barrier::new(200));
    let readers: Vec<_> = (0..200)
        .map(|_| {
            let (node, id, line) = (node.clone(), id.clone(), Arc::clone(&line));
            tokio::spawn(async move {
                line.wait().await;
                assert_eq!(n(&node, &id).await, Some(1));
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let loads = store.0.load(Ordering::Relaxed);
    // The second, where a late notice of the creation comes in between.
    assert!((1..=2).contains(&loads), "{loads}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_flush_of_a_node_does_not_move_an_access_back() {
    let (fresh, one, two) = two().await;
    let id = one.create(NewSession::new()).await.unwrap().id;
    let key = SessionKey::of(&id);
    fresh.advance(MINUTE);
    assert!(one.get(&id).await.unwrap().is_some());
    fresh.advance(MINUTE);
    assert!(two.get(&id).await.unwrap().is_some());
    let later = fresh.store.now();
    two.flush_accesses().await.unwrap();
    // Older, and it comes later.
    one.flush_accesses().await.unwrap();
    let record = fresh.store.load(&[key]).await.unwrap().remove(0).unwrap();
    let behind = later.saturating_since(record.accessed_at);
    assert!(behind < Duration::from_secs(30), "{behind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sessions_the_idle_one_makes_room_and_not_the_one_in_use() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let node = |store| {
        let limit = OwnerLimit {
            max: NonZeroU32::new(2).unwrap(),
            policy: OwnerLimitPolicy::EvictOldest,
        };
        records_with(store).sessions_per_user(limit).build().unwrap()
    };
    let (one, two) = (node(&fresh.store), node(&other));
    let used = one.create(NewSession::for_user("ada")).await.unwrap().id;
    fresh.advance(MINUTE);
    let idle = two.create(NewSession::for_user("ada")).await.unwrap().id;
    fresh.advance(MINUTE);
    assert!(one.get(&used).await.unwrap().is_some(), "older, and in use");
    let new = one.create(NewSession::for_user("ada")).await.unwrap();
    assert_eq!(new.evicted.len(), 1);
    for node in [&one, &two] {
        assert!(node.get(&used).await.unwrap().is_some());
        while node.get(&idle).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        let left = node.list(&ada(), None, 10).await.unwrap();
        assert!(left.len() == 2 && left.iter().all(|listed| listed.handle != RecordHandle::of(&idle)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_removal_of_an_attribute_and_a_stale_group_change_are_refused() {
    let (fresh, one, two) = two().await;
    let new = NewSession::for_user("ada").group("acme").attribute("n", 1);
    let id = one.create(new).await.unwrap().id;
    let old = two.get(&id).await.unwrap().unwrap().version();
    set(&one, &id, 2).await.unwrap();
    let removal = two.update_version(&id, old, |attributes| {
        attributes.discard("n");
        Ok::<_, AttributeError>(())
    });
    assert!(matches!(removal.await, Err(UpdateError::Changed { .. })));
    let regroup = Change {
        key: SessionKey::of(&id),
        expect: Expect {
            version: Some(old),
            epoch: None,
        },
        op: Op::Edit(Box::new(Edit {
            group_id: Some(Some(OwnerText::new("others").unwrap())),
            ..Edit::default()
        })),
    };
    let refused = apply(&fresh.store, regroup).await;
    assert!(matches!(refused, Err(Conflict::Version { .. })), "{refused:?}");
    let found = two.get_fresh(&id).await.unwrap().unwrap();
    assert_eq!(
        (found.get::<u64>("n").unwrap(), found.group_id()),
        (Some(2), Some("acme"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_holder_lives_is_nobody_elses_after_its_lease_and_only_the_holder_gives_it_up() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let holders = Locks::new(fresh.store.clone()).with_lease(Duration::from_secs(1));
    let others = Locks::new(other.clone());
    let (name, begun) = (LockName::new("payment"), Instant::now());
    let lock = holders.lock(&name).await.unwrap();
    while begun.elapsed() < Duration::from_millis(2_500) {
        assert!(
            others.try_lock(&name).await.unwrap().is_none(),
            "taken after {:?}",
            begun.elapsed()
        );
        let somebody = Holder::random().unwrap();
        assert!(!other.release(name.key(), somebody).await.unwrap(), "anyone can unlock");
        assert!(lock.is_held());
    }
    assert!(lock.release().await.unwrap());
    assert!(others.try_lock(&name).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_shutdown_does_nothing() {
    let (fresh, one, _two) = two().await;
    let id = one.create(NewSession::new()).await.unwrap().id;
    for _ in 0..2 {
        one.shutdown(Duration::from_secs(1)).await.unwrap();
    }
    for _ in 0..2 {
        fresh.store.shutdown().await;
    }
    let refused = fresh.store.load(&[SessionKey::of(&id)]).await;
    assert!(refused.is_err_and(|error| error.is_transient()));
}
