//! A record is removed and stays so.

use std::sync::Arc;

use session_process::store::{Conflict, Create, Edit, Op, Owner};

use super::{
    StoreUnderTest,
    fixture::{all, apply, at_once, change, created, done, edit, get, key, labelled, of, refused, there, touch, user},
};

pub async fn a_deleted_record_is_gone_for_every_operation(under: impl StoreUnderTest) {
    let store = under.store();
    let gone = created(&store, of("ada")).await;
    let version = there(&store, gone).await.version;
    assert_eq!(done(&store, gone, Op::Delete).await.version, version);
    touch(&store, gone, store.now()).await;
    assert_eq!(get(&store, gone).await, None);
    assert_eq!(refused(&store, gone, edit(Edit::default())).await, Conflict::Missing);
    assert_eq!(refused(&store, gone, Op::Rotate(key())).await, Conflict::Missing);
    assert_eq!(refused(&store, gone, Op::Delete).await, Conflict::Missing);
    assert_eq!(all(&store, user("ada")).await, []);
    assert_eq!(all(&store, Owner::Everyone).await, []);
}

pub async fn a_racing_write_brings_nothing_back(under: impl StoreUnderTest) {
    let store = under.store();
    for _ in 0..20 {
        let key = created(&store, of("ada")).await;
        let tasks = (0..8).map(|nth| {
            let store = Arc::clone(&store);
            async move {
                match nth {
                    3 => drop(done(&store, key, Op::Delete).await),
                    5 => touch(&store, key, store.now()).await,
                    _ => drop(apply(&store, change(key, edit(labelled("in flight")))).await),
                }
            }
        });
        at_once(tasks).await;
        assert_eq!(get(&store, key).await, None);
    }
    assert_eq!(all(&store, user("ada")).await, []);
}

pub async fn of_many_deletions_at_once_one_takes_place(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(&store, Create::default()).await;
    let deletions = (0..30).map(|_| {
        let store = Arc::clone(&store);
        async move { apply(&store, change(key, Op::Delete)).await.is_ok() }
    });
    assert_eq!(
        at_once(deletions).await.into_iter().filter(|deleted| *deleted).count(),
        1
    );
}
