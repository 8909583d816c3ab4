//! A session's id is changed: its record moves to another key.

use std::sync::Arc;

use session_process::store::{Change, Conflict, Create, Op, Owner, SessionKey};

use super::{
    StoreUnderTest,
    fixture::{
        MINUTE, apply, at_once, at_version, attributes, change, create, created, done, edit, get, idle, key, keys,
        keys_of, labelled, living, owner, refused, snapshot, there, touch, user,
    },
};

pub async fn a_record_moves_with_all_it_has(under: impl StoreUnderTest) {
    let store = under.store();
    let new = Create {
        user_id: Some(owner("ada")),
        group_id: Some(owner("engines")),
        label: Some(owner("phone")),
        lifetime: idle(MINUTE),
        attributes: attributes(&[("a", "1")]),
        snapshot: Some(snapshot(b"state")),
        limit: None,
    };
    let from = created(&store, new).await;
    let before = there(&store, from).await;
    let to = key();
    let right = Change {
        key: from,
        expect: at_version(before.version),
        op: Op::Rotate(to),
    };
    let changed = apply(&store, right).await.expect("the key is free");
    assert!(changed.version > before.version);
    let mut after = there(&store, to).await;
    assert_eq!(after.version, changed.version);
    assert_eq!(keys_of(&store, user("ada")).await, [to]);
    assert_eq!(keys_of(&store, Owner::Group(owner("engines"))).await, [to]);
    (after.key, after.version) = (before.key, before.version);
    assert_eq!(after, before);
    assert_eq!(get(&store, from).await, None);
}

pub async fn a_key_that_is_taken_refuses_the_move(under: impl StoreUnderTest) {
    let store = under.store();
    let (from, taken) = (
        created(&store, Create::default()).await,
        created(&store, Create::default()).await,
    );
    let before = (there(&store, from).await, there(&store, taken).await);
    assert_eq!(refused(&store, from, Op::Rotate(taken)).await, Conflict::Exists);
    assert_eq!(
        refused(&store, from, Op::Rotate(from)).await,
        Conflict::Exists,
        "its own is taken too"
    );
    assert_eq!((there(&store, from).await, there(&store, taken).await), before);
}

pub async fn the_old_key_is_free_and_stale_writes_to_it_find_nothing(under: impl StoreUnderTest) {
    let store = under.store();
    let from = created(&store, Create::default()).await;
    let old = there(&store, from).await.version;
    done(&store, from, Op::Rotate(key())).await;
    touch(&store, from, store.now()).await;
    assert_eq!(refused(&store, from, edit(labelled("late"))).await, Conflict::Missing);
    assert_eq!(refused(&store, from, Op::Rotate(key())).await, Conflict::Missing);
    assert_eq!(get(&store, from).await, None);
    assert!(done(&store, from, create(Create::default())).await.version > old);
}

pub async fn of_many_rotations_at_once_one_takes_place(under: impl StoreUnderTest) {
    let store = under.store();
    let from = created(&store, of_ada()).await;
    let targets = keys(30);
    let moves = targets.iter().map(|to| {
        let (store, to) = (Arc::clone(&store), *to);
        async move { apply(&store, change(from, Op::Rotate(to))).await.is_ok() }
    });
    let moved = at_once(moves).await.into_iter().filter(|moved| *moved).count();
    assert_eq!(moved, 1);
    let found = store.load(&targets).await.expect("the store works");
    assert_eq!(found.iter().flatten().count(), 1);
    assert_eq!(keys_of(&store, user("ada")).await.len(), 1);
}

fn of_ada() -> Create {
    super::fixture::of("ada")
}

pub async fn the_key_of_an_expired_record_can_be_moved_to(under: impl StoreUnderTest) {
    let store = under.store();
    let expired = created(&store, living(idle(MINUTE))).await;
    let old = there(&store, expired).await.version;
    let from = created(&store, Create::default()).await;
    under.advance(MINUTE);
    assert!(done(&store, from, Op::Rotate(expired)).await.version > old);
    there(&store, expired).await;
    assert_eq!(store.delete_expired(10).await.expect("the store works"), []);
}

pub async fn a_record_is_found_by_the_key_it_began_under(under: impl StoreUnderTest) {
    let store = under.store();
    let first = created(
        &store,
        Create {
            lifetime: idle(MINUTE),
            ..Create::default()
        },
    )
    .await;
    let stays = created(&store, Create::default()).await;
    let never = key();
    let where_are = async |keys: &[SessionKey]| store.locate(keys).await.expect("it remembers");
    assert_eq!(
        where_are(&[first, never, stays, first]).await,
        [Some(first), None, Some(stays), Some(first)]
    );
    assert_eq!(there(&store, first).await.first_key, first);
    let (second, third) = (key(), key());
    for (from, to) in [(first, second), (second, third)] {
        done(&store, from, Op::Rotate(to)).await;
        assert_eq!(there(&store, to).await.first_key, first);
    }
    assert_eq!(
        where_are(&[second, first]).await,
        [None, Some(third)],
        "nothing began there"
    );
    done(&store, third, Op::Rotate(first)).await;
    assert_eq!(where_are(&[first]).await, [Some(first)], "back again");
    done(&store, first, Op::Rotate(third)).await;
    // Another one under the key of the first: the two can't be told apart by it.
    done(&store, first, create(Create::default())).await;
    assert!(where_are(&[first]).await[0].is_some());
    done(&store, first, Op::Delete).await;
    assert_eq!(where_are(&[first]).await, [Some(third)]);
    under.advance(2 * MINUTE);
    assert_eq!(
        where_are(&[first, stays]).await,
        [None, Some(stays)],
        "its time is over"
    );
    done(&store, third, create(Create::default())).await;
    assert_eq!(there(&store, third).await.first_key, third, "nothing of the one before");
    assert_eq!(where_are(&[first, third]).await, [None, Some(third)]);
    done(&store, third, Op::Delete).await;
    assert_eq!(where_are(&[third]).await, [None]);
    assert_eq!(where_are(&[]).await, []);
}
