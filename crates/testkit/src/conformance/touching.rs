//! Accesses.

use session_process::store::{Create, Edit, Touch};

use super::{
    StoreUnderTest,
    fixture::{MINUTE, SECOND, created, done, edit, get, idle, key, living, there, touch},
};

pub async fn an_access_moves_forward_only_and_changes_no_version(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let before = there(&store, key).await;
    under.advance(MINUTE);
    let now = store.now();
    touch(&store, key, now).await;
    // A flush that comes late.
    touch(&store, key, before.accessed_at).await;
    let after = there(&store, key).await;
    assert_eq!(after.accessed_at, now);
    assert_eq!((after.version, after.created_at), (before.version, before.created_at));
}

pub async fn many_are_touched_at_once_and_unknown_keys_are_passed_over(under: impl StoreUnderTest) {
    let store = under.store();
    let mut touches = Vec::new();
    for _ in 0..50 {
        touches.push(created(&store, Create::default()).await);
        touches.push(key());
    }
    under.advance(MINUTE);
    let now = store.now();
    let earlier = touches.iter().map(|key| Touch {
        key: *key,
        accessed_at: now,
    });
    // The same key twice: the later access counts.
    let later = touches.iter().map(|key| Touch {
        key: *key,
        accessed_at: now.saturating_add(SECOND),
    });
    store
        .touch(later.chain(earlier).collect())
        .await
        .expect("the store works");
    store.touch(Vec::new()).await.expect("the store works");
    for (nth, record) in store
        .load(&touches)
        .await
        .expect("the store works")
        .into_iter()
        .enumerate()
    {
        assert_eq!(
            record.map(|record| record.accessed_at),
            (nth % 2 == 0).then_some(now.saturating_add(SECOND))
        );
    }
}

pub async fn an_edit_may_carry_an_access(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let created_at = there(&store, key).await.created_at;
    under.advance(MINUTE);
    let now = store.now();
    for (at, expected) in [(now, now), (created_at, now)] {
        done(
            &store,
            key,
            edit(Edit {
                accessed_at: Some(at),
                ..Edit::default()
            }),
        )
        .await;
        assert_eq!(there(&store, key).await.accessed_at, expected);
    }
}

pub async fn a_touch_that_comes_too_late_revives_nothing(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, living(idle(MINUTE))).await;
    under.advance(SECOND * 30);
    // The access was in time; the store learns of it when the record has gone.
    let in_time = store.now();
    under.advance(SECOND * 40);
    touch(&store, key, in_time).await;
    assert_eq!(get(&store, key).await, None);
}
