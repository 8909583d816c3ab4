//! Many changes in one piece.

use session_process::store::{Change, Conflict, Create, Edit, Op};

use super::{
    StoreUnderTest,
    fixture::{
        at_version, attributes, change, create, created, done, edit, get, key, keys, labelled, owner, poll_once,
        snapshot, there, with_attributes,
    },
};

pub async fn each_change_has_its_own_outcome(under: impl StoreUnderTest) {
    let store = under.store();
    let (one, two, stale) = (
        created(&store, Create::default()).await,
        created(&store, Create::default()).await,
        created(&store, Create::default()).await,
    );
    let old = there(&store, stale).await.version;
    done(&store, stale, edit(labelled("newer"))).await;
    let (nobody, fresh) = (key(), key());
    let outcomes = store
        .commit(vec![
            change(one, edit(labelled("one"))),
            change(one, create(Create::default())),
            change(nobody, Op::Delete),
            Change {
                key: stale,
                expect: at_version(old),
                op: edit(labelled("stale")),
            },
            change(two, Op::Delete),
            change(fresh, create(Create::default())),
        ])
        .await
        .expect("conflicts are outcomes, not errors");
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(Conflict::Exists));
    assert_eq!(outcomes[2], Err(Conflict::Missing));
    assert!(matches!(outcomes[3], Err(Conflict::Version { .. })));
    assert!(outcomes[4].is_ok() && outcomes[5].is_ok());
    assert_eq!(there(&store, one).await.label, Some(owner("one")));
    assert_eq!(there(&store, stale).await.label, Some(owner("newer")));
    assert_eq!(get(&store, two).await, None);
    there(&store, fresh).await;
}

pub async fn changes_of_one_batch_to_one_key_are_applied_in_its_order(under: impl StoreUnderTest) {
    let store = under.store();
    let key = key();
    let outcomes = store
        .commit(vec![
            change(key, edit(labelled("too early"))),
            change(
                key,
                create(Create {
                    label: Some(owner("first")),
                    ..Create::default()
                }),
            ),
            change(key, edit(labelled("second"))),
            change(key, Op::Delete),
            change(key, edit(labelled("too late"))),
            change(
                key,
                create(Create {
                    label: Some(owner("third")),
                    ..Create::default()
                }),
            ),
            change(key, edit(labelled("fourth"))),
        ])
        .await
        .expect("the store works");
    let worked: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(worked, [false, true, true, true, false, true, true]);
    let versions: Vec<_> = [1, 2, 5, 6]
        .map(|nth: usize| outcomes[nth].as_ref().expect("done").version)
        .into();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let record = there(&store, key).await;
    assert_eq!((record.label, record.version), (Some(owner("fourth")), versions[3]));
}

pub async fn a_batch_of_nothing_is_nothing(under: impl StoreUnderTest) {
    let store = under.store();
    assert_eq!(store.commit(Vec::new()).await.expect("the store works"), []);
}

pub async fn a_thousand_changes_go_in_one_batch(under: impl StoreUnderTest) {
    let store = under.store();
    let many = keys(1000);
    let new = many.iter().map(|key| change(*key, create(Create::default()))).collect();
    let outcomes = store.commit(new).await.expect("the store works");
    assert!(outcomes.len() == 1000 && outcomes.iter().all(Result::is_ok));
    let found = store.load(&many).await.expect("the store works");
    assert!(
        found
            .iter()
            .zip(&many)
            .all(|(found, key)| found.as_ref().is_some_and(|record| record.key == *key))
    );
}

pub async fn a_batch_that_is_given_up_is_whole_or_not_at_all(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, state("0")).await;
    for n in 1..50 {
        let n = n.to_string();
        let new = Edit {
            snapshot: Some(Some(snapshot(n.as_bytes()))),
            ..with_attributes(&[("n", &n)])
        };
        poll_once(store.commit(vec![change(key, edit(new))])).await;
        let record = there(&store, key).await;
        let bytes = record.snapshot.expect("set").bytes;
        assert_eq!(record.attributes["n"].json.as_bytes(), &*bytes);
    }
    // The store goes on.
    done(&store, key, edit(labelled("after"))).await;
}

fn state(n: &str) -> Create {
    Create {
        attributes: attributes(&[("n", n)]),
        snapshot: Some(snapshot(n.as_bytes())),
        ..Create::default()
    }
}
