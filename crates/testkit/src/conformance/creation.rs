//! A record is made, and read.

use std::sync::Arc;

use session_process::store::{Conflict, Create, Edit, Epoch, Lifetime, Op, Version};

use super::{
    StoreUnderTest,
    fixture::{
        DAY, MINUTE, all, attributes, change, create, created, done, edit, get, key, keys, near, owner, refused,
        snapshot, there, touch, user,
    },
};

pub async fn a_new_record_is_loaded_as_it_was_created(under: impl StoreUnderTest) {
    let store = under.store();
    let now = store.now();
    let lifetime = Lifetime {
        expires_at: Some(now.saturating_add(DAY)),
        idle_timeout: Some(MINUTE),
    };
    let key = key();
    let changed = done(
        &store,
        key,
        create(Create {
            user_id: Some(owner("ada")),
            group_id: Some(owner("engines")),
            label: Some(owner("Firefox on Linux")),
            lifetime,
            attributes: attributes(&[("cart", r#"["tea"]"#), ("theme", r#""dark""#)]),
            snapshot: Some(snapshot(b"state")),
            limit: None,
        }),
    )
    .await;
    assert!(changed.version > Version(0));
    assert_eq!(changed.evicted, []);

    let record = there(&store, key).await;
    assert_eq!(record.version, changed.version);
    assert_eq!(record.epoch, Epoch(0));
    assert_eq!(record.user_id, Some(owner("ada")));
    assert_eq!(record.group_id, Some(owner("engines")));
    assert_eq!(record.label, Some(owner("Firefox on Linux")));
    assert_eq!(record.lifetime, lifetime);
    assert_eq!(record.snapshot, Some(snapshot(b"state")));
    assert!(near(record.created_at, now) && record.accessed_at == record.created_at);
    let kept: Vec<_> = record
        .attributes
        .iter()
        .map(|(name, a)| (&**name, &*a.json, a.version))
        .collect();
    let version = changed.version;
    assert_eq!(kept, [("cart", r#"["tea"]"#, version), ("theme", r#""dark""#, version)]);
}

pub async fn a_record_may_have_nothing_in_it(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let record = there(&store, key).await;
    assert_eq!(
        (&record.user_id, &record.group_id, &record.label),
        (&None, &None, &None)
    );
    assert_eq!(record.lifetime, Lifetime::default());
    assert!(record.attributes.is_empty());
    assert_eq!(record.snapshot, None);
}

pub async fn a_key_that_is_taken_is_not_created_again(under: impl StoreUnderTest) {
    let store = under.store();
    let key = key();
    let first = Create {
        label: Some(owner("first")),
        ..Create::default()
    };
    done(&store, key, create(first)).await;
    let before = there(&store, key).await;
    let second = Create {
        label: Some(owner("second")),
        ..Create::default()
    };
    assert_eq!(refused(&store, key, create(second)).await, Conflict::Exists);
    assert_eq!(there(&store, key).await, before);
}

pub async fn records_come_in_the_order_of_the_keys_that_were_asked_for(under: impl StoreUnderTest) {
    let store = under.store();
    let known = keys(20);
    store
        .commit(
            known
                .iter()
                .map(|key| change(*key, create(Create::default())))
                .collect(),
        )
        .await
        .expect("the store works");
    // Back to front, with strangers in between and one of them twice.
    let mut asked: Vec<_> = known.iter().rev().flat_map(|known| [*known, key()]).collect();
    asked.push(known[0]);
    let found = store.load(&asked).await.expect("the store works");
    let found: Vec<_> = found
        .iter()
        .map(|record| record.as_ref().map(|record| record.key))
        .collect();
    let expected: Vec<_> = asked.iter().map(|key| known.contains(key).then_some(*key)).collect();
    assert_eq!(found, expected);
    assert_eq!(store.load(&[]).await.expect("the store works"), []);
}

pub async fn a_key_that_was_never_created_is_absent_for_every_operation(under: impl StoreUnderTest) {
    let store = under.store();
    let nobody = key();
    assert_eq!(refused(&store, nobody, edit(Edit::default())).await, Conflict::Missing);
    assert_eq!(refused(&store, nobody, Op::Rotate(key())).await, Conflict::Missing);
    assert_eq!(refused(&store, nobody, Op::Delete).await, Conflict::Missing);
    touch(&store, nobody, store.now()).await;
    assert_eq!(get(&Arc::clone(&store), nobody).await, None);
    assert_eq!(all(&store, user("ada")).await, []);
}
