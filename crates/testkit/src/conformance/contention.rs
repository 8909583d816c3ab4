//! Many at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use session_process::store::{Change, Conflict, Create, Edit, SessionKey};

use super::{
    StoreUnderTest,
    fixture::{
        Store, apply, at_once, at_version, attributes, change, create, created, done, edit, key, labelled, snapshot,
        there, with_attributes,
    },
};

async fn increment(store: &Store, key: SessionKey) -> usize {
    let mut record = there(store, key).await;
    for retries in 0.. {
        let count: u64 = record.attributes["count"].json.parse().expect("a number");
        let next = with_attributes(&[("count", &(count + 1).to_string())]);
        let conflict = match apply(
            store,
            Change {
                key,
                expect: at_version(record.version),
                op: edit(next),
            },
        )
        .await
        {
            Ok(_) => return retries,
            Err(conflict) => conflict,
        };
        let Conflict::Version { record: current, .. } = conflict else {
            panic!("{conflict:?}")
        };
        record = match current {
            Some(current) => *current,
            None => there(store, key).await,
        };
    }
    unreachable!("it ends when it succeeds")
}

pub async fn no_increment_is_lost_where_conflicts_are_retried(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(
        &store,
        Create {
            attributes: attributes(&[("count", "0")]),
            ..Create::default()
        },
    )
    .await;
    let workers = (0..16).map(|_| {
        let store = Arc::clone(&store);
        async move {
            for _ in 0..10 {
                increment(&store, key).await;
            }
        }
    });
    at_once(workers).await;
    assert_eq!(&*there(&store, key).await.attributes["count"].json, "160");
}

pub async fn of_many_writers_under_one_version_one_wins(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    for _ in 0..5 {
        let version = there(&store, key).await.version;
        let writers = (0..40).map(|nth| {
            let store = Arc::clone(&store);
            let op = edit(labelled(&format!("writer {nth}")));
            async move {
                apply(
                    &store,
                    Change {
                        key,
                        expect: at_version(version),
                        op,
                    },
                )
                .await
            }
        });
        let outcomes = at_once(writers).await;
        let winners: Vec<usize> = (0..outcomes.len()).filter(|nth| outcomes[*nth].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let label = there(&store, key).await.label.expect("set");
        assert_eq!(label.as_str(), format!("writer {}", winners[0]));
    }
}

pub async fn of_many_creations_under_one_key_one_wins(under: impl StoreUnderTest) {
    let store = under.store();
    let key = key();
    let creations = (0..40).map(|_| {
        let store = Arc::clone(&store);
        async move { apply(&store, change(key, create(Create::default()))).await }
    });
    let outcomes = at_once(creations).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(
        outcomes
            .into_iter()
            .all(|outcome| matches!(outcome, Ok(_) | Err(Conflict::Exists)))
    );
}

pub async fn a_reader_never_sees_half_a_change(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, over) = (Arc::clone(&store), Arc::clone(&over));
        tokio::spawn(async move {
            while !over.load(Ordering::Acquire) {
                let record = there(&store, key).await;
                let Some(snapshot) = record.snapshot else { continue };
                assert_eq!(&*snapshot.bytes, record.attributes["n"].json.as_bytes());
                assert_eq!(record.label.expect("set").as_str().as_bytes(), &*snapshot.bytes);
                tokio::task::yield_now().await;
            }
        })
    };
    for n in 0..200_u32 {
        let n = n.to_string();
        let whole = Edit {
            snapshot: Some(Some(snapshot(n.as_bytes()))),
            attributes: Some(attributes(&[("n", &n)])),
            ..labelled(&n)
        };
        done(&store, key, edit(whole)).await;
    }
    over.store(true, Ordering::Release);
    reader.await.expect("half a change was seen");
}

pub async fn what_was_acknowledged_is_seen_by_whoever_reads_next(under: impl StoreUnderTest) {
    let store = under.store();
    let workers = (0..16).map(|worker| {
        let store = Arc::clone(&store);
        async move {
            let key = created(&store, Create::default()).await;
            for n in 0..20 {
                let label = format!("{worker} {n}");
                let version = done(&store, key, edit(labelled(&label))).await.version;
                let record = there(&store, key).await;
                assert_eq!(
                    (record.version, record.label.expect("set").as_str()),
                    (version, label.as_str())
                );
            }
        }
    });
    at_once(workers).await;
}
