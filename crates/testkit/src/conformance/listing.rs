//! Whose sessions: lists, a page at a time.

use session_process::store::{Create, Edit, Op, Owner, SessionKey};

use super::{
    StoreUnderTest,
    fixture::{
        Store, all, attributes, change, create, created, done, edit, keys, keys_of, of, owner, snapshot, sorted, there,
        user,
    },
};

pub async fn an_owner_sees_their_sessions_and_nobody_elses(under: impl StoreUnderTest) {
    let store = under.store();
    let in_group = |user: &str| Create {
        group_id: Some(owner("engines")),
        ..of(user)
    };
    let ada = [created(&store, of("ada")).await, created(&store, in_group("ada")).await];
    let bob = created(&store, in_group("bob")).await;
    let nobody = created(&store, Create::default()).await;
    assert_eq!(keys_of(&store, user("ada")).await, sorted(ada));
    assert_eq!(keys_of(&store, user("bob")).await, [bob]);
    assert_eq!(keys_of(&store, user("eve")).await, []);
    assert_eq!(
        keys_of(&store, Owner::Group(owner("engines"))).await,
        sorted([ada[1], bob])
    );
    assert_eq!(
        keys_of(&store, Owner::Everyone).await,
        sorted([ada[0], ada[1], bob, nobody])
    );
}

async fn in_pages(store: &Store, owner: &Owner, limit: usize) -> Vec<SessionKey> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(owner, after, limit).await.expect("the store works");
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return found };
        after = Some(last.key);
        found.extend(page.iter().map(|record| record.key));
    }
}

pub async fn pages_follow_the_keys_and_hold_each_record_once(under: impl StoreUnderTest) {
    let store = under.store();
    let ours = keys(53);
    let new = || {
        create(Create {
            group_id: Some(owner("engines")),
            ..of("ada")
        })
    };
    store
        .commit(ours.iter().map(|key| change(*key, new())).collect())
        .await
        .expect("the store works");
    created(&store, of("bob")).await;
    for limit in [1, 10, 53, 1000] {
        assert_eq!(in_pages(&store, &user("ada"), limit).await, sorted(ours.clone()));
        assert_eq!(
            in_pages(&store, &Owner::Group(owner("engines")), limit).await,
            sorted(ours.clone())
        );
        assert_eq!(in_pages(&store, &Owner::Everyone, limit).await.len(), 54);
    }
    assert_eq!(store.list(&user("ada"), None, 0).await.expect("the store works"), []);
    let everything = store
        .list(&user("ada"), None, usize::MAX)
        .await
        .expect("the store works");
    assert_eq!(everything.len(), 53);
    let last = SessionKey::from_bytes([0xff; 32]);
    assert_eq!(
        store
            .list(&Owner::Everyone, Some(last), 10)
            .await
            .expect("the store works"),
        []
    );
}

pub async fn a_list_has_everything_but_snapshots(under: impl StoreUnderTest) {
    let store = under.store();
    let new = Create {
        label: Some(owner("phone")),
        attributes: attributes(&[("a", "1")]),
        snapshot: Some(snapshot(b"state")),
        ..of("ada")
    };
    let key = created(&store, new).await;
    let mut expected = there(&store, key).await;
    expected.snapshot = None;
    assert_eq!(all(&store, user("ada")).await, [expected]);
}

pub async fn a_changed_owner_is_found_at_once(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let owned = |user: Option<&str>, group: Option<&str>| Edit {
        user_id: Some(user.map(owner)),
        group_id: Some(group.map(owner)),
        ..Edit::default()
    };
    done(&store, key, edit(owned(Some("ada"), Some("engines")))).await;
    assert_eq!(keys_of(&store, user("ada")).await, [key]);
    done(&store, key, edit(owned(Some("bob"), None))).await;
    assert_eq!(keys_of(&store, user("ada")).await, []);
    assert_eq!(keys_of(&store, user("bob")).await, [key]);
    assert_eq!(keys_of(&store, Owner::Group(owner("engines"))).await, []);
    done(&store, key, edit(owned(None, None))).await;
    assert_eq!(keys_of(&store, user("bob")).await, []);
    assert_eq!(keys_of(&store, Owner::Everyone).await, [key]);
}

pub async fn a_user_and_a_group_of_one_name_are_two(under: impl StoreUnderTest) {
    let store = under.store();
    let in_group = created(
        &store,
        Create {
            group_id: Some(owner("ada")),
            ..Create::default()
        },
    )
    .await;
    let of_user = created(&store, of("ada")).await;
    assert_eq!(keys_of(&store, user("ada")).await, [of_user]);
    assert_eq!(keys_of(&store, Owner::Group(owner("ada"))).await, [in_group]);
}

pub async fn paging_goes_on_where_its_last_record_was_deleted(under: impl StoreUnderTest) {
    let store = under.store();
    let ours = sorted(keys(6));
    store
        .commit(ours.iter().map(|key| change(*key, create(of("ada")))).collect())
        .await
        .expect("the store works");
    let page = store.list(&user("ada"), None, 3).await.expect("the store works");
    assert_eq!(page.iter().map(|record| record.key).collect::<Vec<_>>(), ours[..3]);
    done(&store, ours[2], Op::Delete).await;
    let rest = store
        .list(&user("ada"), Some(ours[2]), 10)
        .await
        .expect("the store works");
    assert_eq!(rest.iter().map(|record| record.key).collect::<Vec<_>>(), ours[3..]);
}
