//! Several nodes on one database: what one does, the others see.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use session_process::{
    SessionId,
    records::{NewSession, SessionRecords},
    store::{Changes, Create, Notice, Op, Owner, OwnerLimit, OwnerLimitPolicy, OwnerText, SessionKey, SessionStore},
};
use session_process_postgres::PostgresStore;

use crate::support::{Fresh, apply, change, fresh, records_with};

fn unlimited(store: &PostgresStore) -> SessionRecords {
    records_with(store)
        .sessions_per_user(None)
        .build()
        .expect("good settings")
}

async fn two() -> (Fresh, SessionRecords, SessionRecords) {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let (one, two) = (unlimited(&fresh.store), unlimited(&other));
    (fresh, one, two)
}

async fn add(records: &SessionRecords, id: &SessionId) {
    let added = records.update(id, |attributes| attributes.update("n", |n: &mut u64| *n += 1));
    added.await.expect("no update is lost");
}

async fn read(records: &SessionRecords, id: &SessionId) -> Option<u64> {
    let found = records.get(id).await.expect("the database is there")?;
    found.get("n").expect("a number")
}

async fn next(changes: &mut Box<dyn Changes>) -> Notice {
    let patience = Duration::from_secs(10);
    let next = tokio::time::timeout(patience, changes.next()).await;
    next.expect("a notice comes").expect("the store is open")
}

/// tower-sessions: "100 requests add 1 to a counter in one session" ends at 2; gopgsession: 64 increments end at 1.
#[tokio::test(flavor = "multi_thread")]
async fn updates_of_one_session_on_two_nodes_add_up() {
    let (_fresh, one, two) = two().await;
    let id = one
        .create(NewSession::for_user("ada").attribute("n", 0))
        .await
        .unwrap()
        .id;
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (records, id) = (if n % 2 == 0 { one.clone() } else { two.clone() }, id.clone());
            tokio::spawn(async move { add(&records, &id).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        one.get_fresh(&id).await.unwrap().unwrap().get::<u64>("n").unwrap(),
        Some(100)
    );
}

/// Once by the answer; the notification says nothing new then, whether it came before the answer or after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_told_of_a_change_of_its_own_once() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let mut changes = fresh.store.changes();
    let key = |n: u8| SessionKey::from_bytes([n; 32]);
    for n in 0..100 {
        apply(&fresh.store, change(key(n), Op::Create(Box::default())))
            .await
            .unwrap();
    }
    // In the order of the commits, so all before it were heard when this one is.
    apply(&other, change(key(100), Op::Create(Box::default())))
        .await
        .unwrap();
    for n in 0..=100 {
        let notice = next(&mut changes).await;
        assert!(
            matches!(notice, Notice::Changed { key: told, .. } if told == key(n)),
            "{n}: {notice:?}"
        );
    }
}

/// gopgsession: 8 tasks that update 5 attributes of one session end in deadlocks. Here: 8 tasks, 40 sessions, both nodes.
#[tokio::test(flavor = "multi_thread")]
async fn updates_of_many_sessions_on_two_nodes_add_up() {
    let (_fresh, one, two) = two().await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(
            one.create(NewSession::for_user("ada").attribute("n", 0))
                .await
                .unwrap()
                .id,
        );
    }
    let ids = Arc::new(ids);
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (records, ids) = (if n % 2 == 0 { one.clone() } else { two.clone() }, Arc::clone(&ids));
            tokio::spawn(async move {
                for round in 0..5 {
                    let all: Vec<_> = ids
                        .iter()
                        .cycle()
                        .skip(n * 7 + round)
                        .take(ids.len())
                        .map(|id| {
                            let (records, id) = (records.clone(), id.clone());
                            tokio::spawn(async move { add(&records, &id).await })
                        })
                        .collect();
                    for one in all {
                        one.await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for id in ids.iter() {
        assert_eq!(
            two.get_fresh(id).await.unwrap().unwrap().get::<u64>("n").unwrap(),
            Some(40)
        );
    }
}

/// tower-sessions: "logout on one node, read on the other" is still signed in. And "two nodes, alternating increments".
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_did_is_seen_by_the_cache_of_the_other() {
    let (fresh, one, two) = two().await;
    let id = one
        .create(NewSession::for_user("ada").attribute("n", 0))
        .await
        .unwrap()
        .id;
    let key = SessionKey::of(&id);
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        assert_eq!(read(reader, &id).await, Some(round));
        add(writer, &id).await;
        // The bound is time: whoever waits sees it without asking the database.
        while read(reader, &id).await != Some(round + 1) {
            tokio::task::yield_now().await;
        }
    }
    assert!(one.stats().cache_in_use && two.stats().cache_in_use);
    assert!(read(&two, &id).await.is_some());
    one.delete(&id).await.unwrap();
    while read(&two, &id).await.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(fresh.store.load(&[key]).await.unwrap(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_hears_which_sessions_changed_and_to_which_versions() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let mut changes = other.changes();
    let (key, to) = (SessionKey::from_bytes([1; 32]), SessionKey::from_bytes([2; 32]));
    let version = apply(&fresh.store, change(key, Op::Create(Box::default())))
        .await
        .unwrap()
        .version;
    assert_eq!(next(&mut changes).await, Notice::Changed { key, version });
    let edited = apply(&fresh.store, change(key, Op::Edit(Box::default())))
        .await
        .unwrap()
        .version;
    assert_eq!(next(&mut changes).await, Notice::Changed { key, version: edited });
    let moved = apply(&fresh.store, change(key, Op::Rotate(to))).await.unwrap().version;
    let mut both = [next(&mut changes).await, next(&mut changes).await];
    both.sort_by_key(|notice| matches!(notice, Notice::Changed { .. }));
    assert_eq!(
        both,
        [
            Notice::Moved {
                key,
                version: edited,
                to
            },
            Notice::Changed {
                key: to,
                version: moved
            }
        ]
    );
    apply(&fresh.store, change(to, Op::Delete)).await.unwrap();
    assert_eq!(
        next(&mut changes).await,
        Notice::Removed {
            key: to,
            version: moved
        }
    );
    fresh.store.clear_caches().await.unwrap();
    assert_eq!(next(&mut changes).await, Notice::Lagged);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_all_nodes_in_their_order_each_once() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let (here, there) = (fresh.store.channel().unwrap(), other.channel().unwrap());
    let mut heard = [here.subscribe(), there.subscribe()];
    // Two that are the same, what is special in SQL or was in a payload, and one that is as long as may be.
    let long = "é".repeat(here.max_bytes() / 2);
    let all: Vec<String> = (0..100).map(|n| format!("{{\"n\": {n}}}")).collect();
    let special = ["'; --", "a b\nc", "\\", &long].map(str::to_owned);
    here.send(all.clone()).await.unwrap();
    here.send(special.to_vec()).await.unwrap();
    for heard in &mut heard {
        for expected in all.iter().chain(&special) {
            let next = tokio::time::timeout(Duration::from_secs(10), heard.next()).await;
            assert_eq!(&*next.expect("it comes").expect("the store is open"), expected);
        }
    }
    let too_long = "x".repeat(here.max_bytes() + 1);
    assert!(here.send(vec![too_long]).await.is_err());
    there.send(vec!["back".to_owned()]).await.unwrap();
    for heard in &mut heard {
        assert_eq!(&*heard.next().await.unwrap(), "back");
    }
    // Whoever is no longer there says so, and hears no more.
    other.shutdown().await;
    assert!(there.send(vec!["x".to_owned()]).await.unwrap_err().is_transient());
    assert_eq!(heard[1].next().await, None);
}

/// gopgsession: a limit of its own on each node, and two that race both pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_five_holds_for_a_hundred_creations_on_three_nodes() {
    let fresh = fresh().await;
    let nodes = [fresh.store.clone(), fresh.node().await, fresh.node().await];
    for policy in [OwnerLimitPolicy::Reject, OwnerLimitPolicy::EvictOldest] {
        let user = OwnerText::new(format!("ada {policy:?}")).unwrap();
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let (node, user) = (nodes[n % 3].clone(), user.clone());
                tokio::spawn(async move {
                    let limit = OwnerLimit {
                        max: NonZeroU32::new(5).unwrap(),
                        policy,
                    };
                    let create = Op::Create(Box::new(Create {
                        user_id: Some(user.clone()),
                        limit: Some(limit),
                        ..Create::default()
                    }));
                    let made = apply(&node, change(SessionKey::of(&SessionId::generate()), create))
                        .await
                        .is_ok();
                    let there = node.list(&Owner::User(user), None, 100).await.unwrap().len();
                    assert!(there <= 5, "{there}");
                    made
                })
            })
            .collect();
        let mut made = 0;
        for task in tasks {
            made += usize::from(task.await.unwrap());
        }
        assert_eq!(made, if policy == OwnerLimitPolicy::Reject { 5 } else { 100 });
        assert_eq!(nodes[0].list(&Owner::User(user), None, 100).await.unwrap().len(), 5);
    }
}

/// gopgsession: "delete a user's 500 sessions" is an error, and nothing is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_of_a_user_are_deleted_and_every_node_drops_them() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let (one, two) = (unlimited(&fresh.store), unlimited(&other));
    let user = Owner::User(OwnerText::new("ada").unwrap());
    let kept = two
        .create(NewSession::for_user("bob").attribute("n", 1))
        .await
        .unwrap()
        .id;
    let watched = two
        .create(NewSession::for_user("ada").attribute("n", 1))
        .await
        .unwrap()
        .id;
    let create = || {
        let new = Create {
            user_id: Some(OwnerText::new("ada").unwrap()),
            ..Create::default()
        };
        change(SessionKey::of(&SessionId::generate()), Op::Create(Box::new(new)))
    };
    fresh
        .store
        .commit((0..9_999).map(|_| create()).collect())
        .await
        .unwrap();
    assert_eq!(read(&two, &watched).await, Some(1));
    let deleted = one.delete_all(&user).await.unwrap();
    assert_eq!(deleted, 10_000);
    while read(&two, &watched).await.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&two, &kept).await, Some(1));
    assert!(fresh.store.list(&user, None, 1).await.unwrap().is_empty());
}

/// gopgsession: "a clock 61 s ahead steals at once". Time is the database's.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_all_nodes_is_the_databases() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let apart = |a: session_process::Timestamp, b| a.saturating_since(b).max(b.saturating_since(a));
    let row = fresh.database.connect().await;
    let row = row
        .query_one("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", &[])
        .await
        .unwrap();
    let there = session_process::Timestamp::from_micros(row.get(0));
    for node in [&fresh.store, &other] {
        assert!(apart(node.now(), there) < Duration::from_secs(1));
    }
}

/// gopgsession: "cleanup of 500 expired sessions": the notification fails, the other node still serves them.
#[tokio::test(flavor = "multi_thread")]
async fn one_node_at_a_time_removes_what_expired_and_all_are_told() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let create = || {
        let new = Create {
            lifetime: session_process::store::Lifetime {
                expires_at: None,
                idle_timeout: Some(Duration::from_secs(60)),
            },
            ..Create::default()
        };
        change(SessionKey::of(&SessionId::generate()), Op::Create(Box::new(new)))
    };
    fresh
        .store
        .commit((0..2_500).map(|_| create()).collect())
        .await
        .unwrap();
    testkit::conformance::StoreUnderTest::advance(&fresh, Duration::from_secs(60));
    let mut changes = other.changes();
    // Another node at it holds the lock.
    let (one, two) = tokio::join!(fresh.store.delete_expired(10_000), other.delete_expired(10_000));
    let (one, two) = (one.unwrap(), two.unwrap());
    let rest = fresh.store.delete_expired(10_000).await.unwrap();
    assert_eq!(one.len() + two.len() + rest.len(), 2_500);
    let mut told = 0;
    while told < 2_500 {
        match next(&mut changes).await {
            Notice::Removed { .. } => told += 1,
            // Of their creation: it may come late.
            Notice::Changed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
