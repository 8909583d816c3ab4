//! A record whose time is over is absent, whether or not it was removed.

use std::time::Duration;

use session_process::{
    Timestamp,
    store::{Conflict, Create, Edit, Lifetime, Op, Owner},
};

use super::{
    StoreUnderTest,
    fixture::{
        DAY, MINUTE, SECOND, Store, all, create, created, done, edit, get, idle, key, labelled, living, owner, refused,
        there, touch, until, user,
    },
};

async fn absent(store: &Store, key: session_process::store::SessionKey) {
    assert_eq!(get(store, key).await, None);
    assert_eq!(refused(store, key, edit(labelled("late"))).await, Conflict::Missing);
    assert_eq!(
        refused(store, key, Op::Rotate(super::fixture::key())).await,
        Conflict::Missing
    );
    assert_eq!(refused(store, key, Op::Delete).await, Conflict::Missing);
    assert_eq!(all(store, Owner::Everyone).await, []);
}

fn with(lifetime: Lifetime) -> Edit {
    Edit {
        lifetime: Some(lifetime),
        ..Edit::default()
    }
}

pub async fn a_record_is_absent_from_its_end_on_whether_or_not_it_was_removed(under: impl StoreUnderTest) {
    let store = under.store();
    let mut new = living(until(store.now().saturating_add(MINUTE)));
    new.user_id = Some(owner("ada"));
    new.group_id = Some(owner("engines"));
    let key = created(&store, new).await;
    under.advance(MINUTE - SECOND * 10);
    there(&store, key).await;
    assert_eq!(all(&store, user("ada")).await.len(), 1);
    under.advance(SECOND * 10);
    absent(&store, key).await;
    assert_eq!(all(&store, user("ada")).await, []);
    assert_eq!(all(&store, Owner::Group(owner("engines"))).await, []);
}

pub async fn an_idle_record_ends_when_it_was_not_used_for_its_timeout(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, living(idle(MINUTE))).await;
    under.advance(MINUTE - SECOND * 10);
    there(&store, key).await;
    under.advance(SECOND * 10);
    absent(&store, key).await;
}

pub async fn use_prolongs_an_idle_record_and_never_beyond_its_absolute_end(under: impl StoreUnderTest) {
    let store = under.store();
    let end = store.now().saturating_add(MINUTE * 5);
    let both = Lifetime {
        expires_at: Some(end),
        idle_timeout: Some(MINUTE),
    };
    let (used, edited) = (created(&store, living(both)).await, created(&store, living(both)).await);
    // Every 40 seconds: seven times, to 4:40.
    for _ in 0..7 {
        under.advance(SECOND * 40);
        touch(&store, used, store.now()).await;
        let access = Edit {
            accessed_at: Some(store.now()),
            ..Edit::default()
        };
        done(&store, edited, edit(access)).await;
    }
    there(&store, used).await;
    there(&store, edited).await;
    under.advance(SECOND * 20);
    assert_eq!(
        store.load(&[used, edited]).await.expect("the store works"),
        [None, None]
    );
}

pub async fn a_record_without_time_limits_does_not_end(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    under.advance(DAY * 4000);
    there(&store, key).await;
    assert_eq!(store.delete_expired(10).await.expect("the store works"), []);
}

pub async fn time_limits_can_be_changed_and_turned_off(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, living(idle(MINUTE))).await;
    // Longer.
    done(&store, key, edit(with(idle(MINUTE * 3)))).await;
    under.advance(MINUTE * 2);
    assert_eq!(there(&store, key).await.lifetime, idle(MINUTE * 3));
    // Off.
    done(&store, key, edit(with(Lifetime::default()))).await;
    under.advance(DAY);
    there(&store, key).await;
    // On again, counted from the last access: a day ago, so it is over.
    done(&store, key, edit(with(idle(DAY * 2)))).await;
    there(&store, key).await;
    let end = store.now().saturating_add(MINUTE);
    done(&store, key, edit(with(until(end)))).await;
    under.advance(MINUTE);
    absent(&store, key).await;
    // At once.
    let key = created(&store, living(idle(MINUTE))).await;
    done(&store, key, edit(with(until(store.now())))).await;
    absent(&store, key).await;
}

pub async fn time_limits_beyond_the_end_of_time_are_none(under: impl StoreUnderTest) {
    let store = under.store();
    for lifetime in [
        idle(Duration::MAX),
        until(Timestamp::MAX),
        idle(Duration::from_micros(i64::MAX as u64)),
        Lifetime {
            expires_at: Some(Timestamp::MAX),
            idle_timeout: Some(Duration::MAX),
        },
    ] {
        let key = created(&store, living(lifetime)).await;
        touch(&store, key, store.now().saturating_add(SECOND)).await;
        assert_eq!(there(&store, key).await.expires_at(), Timestamp::MAX);
        done(&store, key, edit(labelled("there"))).await;
    }
    assert_eq!(store.delete_expired(10).await.expect("the store works"), []);
}

pub async fn an_expired_record_is_not_brought_back(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, living(idle(MINUTE))).await;
    under.advance(MINUTE);
    touch(&store, key, store.now()).await;
    let access = Edit {
        accessed_at: Some(store.now()),
        lifetime: Some(Lifetime::default()),
        ..Edit::default()
    };
    assert_eq!(refused(&store, key, edit(access)).await, Conflict::Missing);
    absent(&store, key).await;
}

pub async fn the_key_of_an_expired_record_is_free(under: impl StoreUnderTest) {
    let store = under.store();
    let key = key();
    let mut old = living(idle(MINUTE));
    old.user_id = Some(owner("ada"));
    old.attributes = super::fixture::attributes(&[("secret", "1")]);
    let first = done(&store, key, create(old)).await.version;
    under.advance(MINUTE);
    let second = done(&store, key, create(Create::default())).await.version;
    assert!(second > first);
    let record = there(&store, key).await;
    assert_eq!(record.user_id, None);
    assert!(record.attributes.is_empty());
    assert_eq!(store.delete_expired(10).await.expect("the store works"), []);
    there(&store, key).await;
}

pub async fn a_record_created_with_its_end_behind_it_is_absent(under: impl StoreUnderTest) {
    let store = under.store();
    under.advance(DAY);
    let key = key();
    done(&store, key, create(living(until(Timestamp::from_micros(1))))).await;
    absent(&store, key).await;
    done(&store, key, create(living(idle(Duration::ZERO)))).await;
    absent(&store, key).await;
    done(&store, key, create(Create::default())).await;
    there(&store, key).await;
}
