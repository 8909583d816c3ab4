//! How many sessions a user may have.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use session_process::store::{Conflict, Create, Edit, Owner, OwnerLimit, OwnerLimitPolicy, SessionKey};

use super::{
    StoreUnderTest,
    fixture::{
        MINUTE, SECOND, Store, all, apply, at_once, change, create, created, done, edit, get, idle, key, keys_of, of,
        owner, refused, sorted, there, touch, user,
    },
};

const FIVE: u32 = 5;

fn most(max: u32, policy: OwnerLimitPolicy) -> Option<OwnerLimit> {
    NonZeroU32::new(max).map(|max| OwnerLimit { max, policy })
}

fn rejecting(user: &str, max: u32) -> Create {
    Create {
        limit: most(max, OwnerLimitPolicy::Reject),
        ..of(user)
    }
}

fn evicting(user: &str, max: u32) -> Create {
    Create {
        limit: most(max, OwnerLimitPolicy::EvictOldest),
        ..of(user)
    }
}

fn to(user: &str, limit: Option<OwnerLimit>) -> Edit {
    Edit {
        user_id: Some(Some(owner(user))),
        limit,
        ..Edit::default()
    }
}

pub async fn a_user_with_as_many_sessions_as_may_be_gets_no_other(under: impl StoreUnderTest) {
    let store = under.store();
    let (first, _) = (
        created(&store, rejecting("ada", 2)).await,
        created(&store, rejecting("ada", 2)).await,
    );
    let third = key();
    let conflict = refused(&store, third, create(rejecting("ada", 2))).await;
    let Conflict::OwnerLimit { max } = conflict else {
        panic!("{conflict:?}")
    };
    assert_eq!(max.get(), 2);
    assert_eq!(get(&store, third).await, None);
    done(&store, first, session_process::store::Op::Delete).await;
    done(&store, third, create(rejecting("ada", 2))).await;
}

pub async fn the_oldest_access_makes_room(under: impl StoreUnderTest) {
    let store = under.store();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(created(&store, evicting("ada", 3)).await);
        under.advance(SECOND * 10);
    }
    // The first to be created is the last that was used.
    touch(&store, sessions[0], store.now()).await;
    under.advance(SECOND * 10);
    let oldest = there(&store, sessions[1]).await;
    let fourth = key();
    let changed = done(&store, fourth, create(evicting("ada", 3))).await;
    assert_eq!(changed.evicted.len(), 1);
    assert_eq!(
        (changed.evicted[0].key, changed.evicted[0].version),
        (sessions[1], oldest.version)
    );
    assert_eq!(changed.evicted[0].user_id, Some(owner("ada")));
    assert_eq!(
        keys_of(&store, user("ada")).await,
        sorted([sessions[0], sessions[2], fourth])
    );
    assert_eq!(get(&store, sessions[1]).await, None);
}

pub async fn a_limit_that_was_lowered_evicts_as_many_as_are_too_many(under: impl StoreUnderTest) {
    let store = under.store();
    for _ in 0..6 {
        created(&store, of("ada")).await;
        under.advance(SECOND * 10);
    }
    let last = key();
    assert_eq!(done(&store, last, create(evicting("ada", 2))).await.evicted.len(), 5);
    assert_eq!(all(&store, user("ada")).await.len(), 2);
    there(&store, last).await;
}

pub async fn only_live_sessions_of_the_same_user_count(under: impl StoreUnderTest) {
    let store = under.store();
    created(&store, of("bob")).await;
    created(
        &store,
        Create {
            group_id: Some(owner("ada")),
            ..Create::default()
        },
    )
    .await;
    created(
        &store,
        Create {
            lifetime: idle(MINUTE),
            ..of("ada")
        },
    )
    .await;
    refused(&store, key(), create(rejecting("ada", 1))).await;
    under.advance(MINUTE);
    created(&store, rejecting("ada", 1)).await;
    refused(&store, key(), create(rejecting("ada", 1))).await;
    // One that expired needs not make room, and is not named.
    created(
        &store,
        Create {
            lifetime: idle(MINUTE),
            ..of("eve")
        },
    )
    .await;
    under.advance(MINUTE);
    assert_eq!(done(&store, key(), create(evicting("eve", 1))).await.evicted, []);
}

pub async fn without_a_user_or_a_limit_nothing_is_counted(under: impl StoreUnderTest) {
    let store = under.store();
    for _ in 0..3 {
        let limit = most(1, OwnerLimitPolicy::Reject);
        created(
            &store,
            Create {
                limit,
                ..Create::default()
            },
        )
        .await;
        created(&store, of("ada")).await;
    }
    assert_eq!(all(&store, Owner::Everyone).await.len(), 6);
}

pub async fn a_session_that_moves_to_a_user_is_counted_there(under: impl StoreUnderTest) {
    let store = under.store();
    let oldest = created(&store, of("ada")).await;
    under.advance(SECOND * 10);
    created(&store, of("ada")).await;
    let guest = created(&store, Create::default()).await;
    let before = there(&store, guest).await;
    let limit = |policy| most(2, policy);
    let conflict = refused(&store, guest, edit(to("ada", limit(OwnerLimitPolicy::Reject)))).await;
    assert!(matches!(conflict, Conflict::OwnerLimit { .. }), "{conflict:?}");
    assert_eq!(there(&store, guest).await, before);
    let changed = done(&store, guest, edit(to("ada", limit(OwnerLimitPolicy::EvictOldest)))).await;
    assert_eq!(
        changed.evicted.iter().map(|removed| removed.key).collect::<Vec<_>>(),
        [oldest]
    );
    assert_eq!(all(&store, user("ada")).await.len(), 2);
    // Away from her there is no limit.
    let away = Edit {
        user_id: Some(None),
        limit: limit(OwnerLimitPolicy::Reject),
        ..Edit::default()
    };
    done(&store, guest, edit(away)).await;
    assert_eq!(all(&store, user("ada")).await.len(), 1);
}

pub async fn a_session_that_stays_with_its_user_is_not_counted_again(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, rejecting("ada", 1)).await;
    created(&store, of("ada")).await;
    done(&store, key, edit(to("ada", most(1, OwnerLimitPolicy::Reject)))).await;
    let changed = done(&store, key, edit(to("ada", most(1, OwnerLimitPolicy::EvictOldest)))).await;
    assert_eq!(changed.evicted, []);
}

/// Looks at the user's sessions again and again until it is told to stop; the most that it ever saw.
async fn watch(store: Store, name: &'static str, stop: Arc<AtomicBool>) -> (usize, usize) {
    let (mut most, mut looks) = (0, 0);
    while !stop.load(Ordering::Acquire) {
        most = most.max(all(&store, user(name)).await.len());
        looks += 1;
        tokio::task::yield_now().await;
    }
    (most, looks)
}

async fn a_hundred_under_watch(
    store: &Store,
    one: impl Fn(Store) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>>,
) -> usize {
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(Arc::clone(store), "ada", Arc::clone(&stop)));
    let successes = at_once((0..100).map(|_| one(Arc::clone(store)))).await;
    stop.store(true, Ordering::Release);
    let (most, looks) = watcher.await.expect("the watcher panicked");
    assert!(most <= FIVE as usize, "{most} sessions were seen in {looks} looks");
    successes.into_iter().filter(|success| *success).count()
}

pub async fn a_limit_holds_at_every_moment_for_a_hundred_at_once(under: impl StoreUnderTest) {
    let store = under.store();
    let successes = a_hundred_under_watch(&store, |store| {
        Box::pin(async move {
            apply(&store, change(key(), create(rejecting("ada", FIVE))))
                .await
                .is_ok()
        })
    })
    .await;
    assert_eq!(successes, FIVE as usize);
    assert_eq!(all(&store, user("ada")).await.len(), FIVE as usize);
}

pub async fn eviction_holds_at_every_moment_for_a_hundred_at_once(under: impl StoreUnderTest) {
    let store = under.store();
    let successes = a_hundred_under_watch(&store, |store| {
        Box::pin(async move {
            apply(&store, change(key(), create(evicting("ada", FIVE))))
                .await
                .is_ok()
        })
    })
    .await;
    assert_eq!(successes, 100, "the new one always comes in");
    assert_eq!(all(&store, user("ada")).await.len(), FIVE as usize);
}

pub async fn a_hundred_at_once_move_to_one_user_within_the_limit(under: impl StoreUnderTest) {
    let store = under.store();
    let guests: Vec<SessionKey> = at_once((0..100).map(|_| {
        let store = Arc::clone(&store);
        async move { created(&store, Create::default()).await }
    }))
    .await;
    let moves = guests.into_iter().map(|guest| {
        let store = Arc::clone(&store);
        let login = edit(to("ada", most(FIVE, OwnerLimitPolicy::Reject)));
        async move { apply(&store, change(guest, login)).await.is_ok() }
    });
    let successes = at_once(moves).await.into_iter().filter(|success| *success).count();
    assert_eq!(successes, FIVE as usize);
    assert_eq!(all(&store, user("ada")).await.len(), FIVE as usize);
}
