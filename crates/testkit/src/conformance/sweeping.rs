//! [`SessionStore::delete_expired`](session_process::store::SessionStore::delete_expired).

use session_process::store::{Create, Edit, Owner, SessionKey};

use super::{
    StoreUnderTest,
    fixture::{
        DAY, MINUTE, SECOND, Store, create, created, done, edit, idle, key, keys_of, living, owner, sorted, there,
        touch, until,
    },
};

async fn swept(store: &Store, limit: usize) -> Vec<SessionKey> {
    let removed = store.delete_expired(limit).await.expect("the store works");
    assert!(removed.len() <= limit);
    removed.iter().map(|removed| removed.key).collect()
}

pub async fn what_has_expired_is_removed_and_named_once(under: impl StoreUnderTest) {
    let store = under.store();
    let key = key();
    let mut new = living(idle(MINUTE));
    new.user_id = Some(owner("ada"));
    done(&store, key, create(new)).await;
    let version = done(&store, key, edit(Edit::default())).await.version;
    assert_eq!(swept(&store, 10).await, []);
    under.advance(MINUTE);
    let removed = store.delete_expired(10).await.expect("the store works");
    assert_eq!(removed.len(), 1);
    assert_eq!((removed[0].key, removed[0].version), (key, version));
    assert_eq!(removed[0].user_id, Some(owner("ada")));
    assert_eq!(swept(&store, 10).await, []);
}

pub async fn what_has_not_expired_is_left_alone(under: impl StoreUnderTest) {
    let store = under.store();
    let in_a_day = until(store.now().saturating_add(DAY));
    let kept = [
        created(&store, Create::default()).await,
        created(&store, living(in_a_day)).await,
        created(&store, living(idle(MINUTE * 2))).await,
    ];
    created(&store, living(idle(SECOND))).await;
    under.advance(MINUTE);
    assert_eq!(swept(&store, 10).await.len(), 1);
    assert_eq!(keys_of(&store, Owner::Everyone).await, sorted(kept));
}

pub async fn a_sweep_removes_as_many_as_it_may_and_the_next_the_rest(under: impl StoreUnderTest) {
    let store = under.store();
    let mut expired = Vec::new();
    for _ in 0..25 {
        expired.push(created(&store, living(idle(MINUTE))).await);
    }
    under.advance(MINUTE);
    assert_eq!(swept(&store, 0).await, []);
    let mut removed = Vec::new();
    for count in [10, 10, 5, 0] {
        let slice = swept(&store, 10).await;
        assert_eq!(slice.len(), count);
        removed.extend(slice);
    }
    assert_eq!(sorted(removed), sorted(expired));
}

pub async fn a_record_that_was_used_meanwhile_is_not_swept(under: impl StoreUnderTest) {
    let store = under.store();
    let (touched, edited) = (
        created(&store, living(idle(MINUTE))).await,
        created(&store, living(idle(MINUTE))).await,
    );
    for _ in 0..5 {
        under.advance(SECOND * 40);
        touch(&store, touched, store.now()).await;
        let access = Edit {
            accessed_at: Some(store.now()),
            ..Edit::default()
        };
        done(&store, edited, edit(access)).await;
        assert_eq!(swept(&store, 10).await, []);
    }
    there(&store, touched).await;
    there(&store, edited).await;
    under.advance(MINUTE);
    assert_eq!(sorted(swept(&store, 10).await), sorted([touched, edited]));
}

pub async fn a_record_whose_time_was_cut_short_is_swept(under: impl StoreUnderTest) {
    let store = under.store();
    let (one, two) = (
        created(&store, Create::default()).await,
        created(&store, living(idle(DAY))).await,
    );
    let short = Edit {
        lifetime: Some(idle(MINUTE)),
        ..Edit::default()
    };
    done(&store, one, edit(short.clone())).await;
    done(&store, two, edit(short)).await;
    under.advance(MINUTE);
    assert_eq!(sorted(swept(&store, 10).await), sorted([one, two]));
}

pub async fn a_sweep_finds_the_expired_among_many_that_were_used(under: impl StoreUnderTest) {
    let store = under.store();
    let mut used = Vec::new();
    for _ in 0..40 {
        used.push(created(&store, living(idle(MINUTE))).await);
    }
    under.advance(SECOND * 5);
    let unused = created(&store, living(idle(MINUTE))).await;
    under.advance(SECOND * 45);
    for key in &used {
        touch(&store, *key, store.now()).await;
    }
    under.advance(SECOND * 15);
    // A limit far below the number of those that were used.
    let mut removed = Vec::new();
    for _ in 0..50 {
        removed.extend(swept(&store, 3).await);
    }
    assert_eq!(removed, [unused]);
    assert_eq!(keys_of(&store, Owner::Everyone).await, sorted(used));
}
