//! Versions, epochs, and what is expected of them.

use std::time::Duration;

use session_process::store::{Change, Conflict, Create, Edit, Epoch, Expect, Op, Version};

use super::{
    StoreUnderTest,
    fixture::{
        Store, apply, at_version, change, create, created, done, edit, get, idle, key, labelled, living, refused,
        there, with_attributes,
    },
};

pub async fn every_change_adds_to_the_version(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let mut last = there(&store, key).await.version;
    let accessed = Edit {
        accessed_at: Some(store.now()),
        ..Edit::default()
    };
    let same = with_attributes(&[]);
    for new in [Edit::default(), labelled("a"), labelled("a"), same, accessed] {
        let version = done(&store, key, edit(new)).await.version;
        assert!(version > last, "{version:?} after {last:?}");
        assert_eq!(there(&store, key).await.version, version);
        last = version;
    }
    assert_eq!(done(&store, key, Op::Delete).await.version, last);
}

pub async fn a_change_under_an_old_version_is_refused_and_changes_nothing(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let old = there(&store, key).await.version;
    done(&store, key, edit(labelled("current"))).await;
    let current = there(&store, key).await;
    for op in [edit(labelled("stale")), Op::Delete, Op::Rotate(super::fixture::key())] {
        let conflict = apply(
            &store,
            Change {
                key,
                expect: at_version(old),
                op,
            },
        )
        .await;
        let Err(Conflict::Version { version, .. }) = conflict else {
            panic!("{conflict:?}")
        };
        assert_eq!(version, current.version);
    }
    // One from the future is as wrong.
    let future = at_version(Version(current.version.0 + 1));
    let conflict = apply(
        &store,
        Change {
            key,
            expect: future,
            op: Op::Delete,
        },
    )
    .await;
    assert!(matches!(conflict, Err(Conflict::Version { .. })), "{conflict:?}");
    assert_eq!(there(&store, key).await, current);
    let right = Change {
        key,
        expect: at_version(current.version),
        op: edit(labelled("next")),
    };
    apply(&store, right).await.expect("the version is right");
}

pub async fn a_conflict_shows_the_record_as_it_is_if_it_shows_one(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(
        &store,
        Create {
            snapshot: Some(super::fixture::snapshot(b"x")),
            ..Create::default()
        },
    )
    .await;
    let old = there(&store, key).await.version;
    done(&store, key, edit(with_attributes(&[("n", "1")]))).await;
    let conflict = apply(
        &store,
        Change {
            key,
            expect: at_version(old),
            op: edit(labelled("stale")),
        },
    )
    .await;
    let Err(Conflict::Version { record, .. }) = conflict else {
        panic!("{conflict:?}")
    };
    if let Some(record) = record {
        assert_eq!(*record, there(&store, key).await);
    }
}

pub async fn without_an_expectation_the_last_writer_wins(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    for label in ["a", "b", "c"] {
        done(&store, key, edit(labelled(label))).await;
    }
    assert_eq!(there(&store, key).await.label.expect("set").as_str(), "c");
}

pub async fn a_creation_expects_nothing_but_a_free_key(under: impl StoreUnderTest) {
    let store = under.store();
    let expect = Expect {
        version: Some(Version(77)),
        epoch: Some(Epoch(77)),
    };
    let change = Change {
        key: key(),
        expect,
        op: create(Create::default()),
    };
    apply(&store, change).await.expect("the key is free");
}

fn under_epoch(key: session_process::store::SessionKey, epoch: u64, new: Edit) -> Change {
    Change {
        key,
        expect: Expect {
            version: None,
            epoch: Some(Epoch(epoch)),
        },
        op: edit(new),
    }
}

fn claim(epoch: u64) -> Edit {
    Edit {
        epoch: Some(Epoch(epoch)),
        ..Edit::default()
    }
}

pub async fn an_epoch_that_is_not_the_expected_one_is_refused(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    apply(&store, under_epoch(key, 0, claim(1)))
        .await
        .expect("the first owner");
    apply(&store, under_epoch(key, 1, claim(5)))
        .await
        .expect("the second owner");
    let before = there(&store, key).await;
    assert_eq!(before.epoch, Epoch(5));
    // The first owner, who does not know yet.
    let late = apply(&store, under_epoch(key, 1, labelled("late"))).await;
    assert_eq!(late, Err(Conflict::Epoch { epoch: Epoch(5) }));
    let ahead = apply(&store, under_epoch(key, 6, labelled("ahead"))).await;
    assert_eq!(ahead, Err(Conflict::Epoch { epoch: Epoch(5) }));
    assert_eq!(there(&store, key).await, before);
    apply(&store, under_epoch(key, 5, labelled("owner")))
        .await
        .expect("the owner");
    assert_eq!(there(&store, key).await.epoch, Epoch(5));
}

pub async fn an_epoch_only_grows(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    done(&store, key, edit(claim(3))).await;
    let before = there(&store, key).await;
    for epoch in [0, 2, 3] {
        assert_eq!(
            refused(&store, key, edit(claim(epoch))).await,
            Conflict::Epoch { epoch: Epoch(3) }
        );
    }
    assert_eq!(there(&store, key).await, before);
    done(&store, key, edit(claim(4))).await;
    assert_eq!(there(&store, key).await.epoch, Epoch(4));
}

pub async fn a_version_is_never_given_twice_under_a_key(under: impl StoreUnderTest) {
    let store = under.store();
    let key = key();
    let timeout = Duration::from_secs(60);
    let create_it = || create(living(idle(timeout)));
    let mut highest = done(&store, key, create_it()).await.version;
    for end in 0..9 {
        for _ in 0..end {
            highest = done(&store, key, edit(Edit::default())).await.version;
        }
        // The three ways in which a record leaves its key.
        match end % 3 {
            0 => drop(done(&store, key, Op::Delete).await),
            // (The version that it gets is one of the other key.)
            1 => drop(done(&store, key, Op::Rotate(super::fixture::key())).await),
            _ => {
                under.advance(timeout);
                if end > 4 {
                    store.delete_expired(10).await.expect("the store works");
                }
            }
        }
        assert_eq!(get(&store, key).await, None);
        let version = done(&store, key, create_it()).await.version;
        assert!(version > highest, "{version:?} after {highest:?}, end {end}");
        stale_is_refused(&store, key, highest).await;
        highest = version;
    }
}

async fn stale_is_refused(store: &Store, key: session_process::store::SessionKey, old: Version) {
    let mut stale = change(key, edit(labelled("stale")));
    stale.expect = at_version(old);
    assert!(matches!(apply(store, stale).await, Err(Conflict::Version { .. })));
}
