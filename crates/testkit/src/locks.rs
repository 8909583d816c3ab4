//! What every [`LockStore`] must do, as tests: [`lock_conformance!`](crate::lock_conformance).
//!
//! As [`conformance`](crate::conformance), for stores that give out locks as well.
#![allow(
    missing_docs,
    reason = "the name of a fact is what it says; the store's contract says the rest"
)]

use std::{sync::Arc, time::Duration};

use session_process::{
    SessionId,
    store::{
        Acquired, Attribute, Change, Conflict, Edit, Expect, Fence, Holder, LockName, LockStore, Op, Outcome,
        SessionKey, Token, Version,
    },
};

use crate::conformance::StoreUnderTest;

/// A fresh store with locks, and its clock.
pub trait LocksUnderTest: StoreUnderTest {
    /// The same store.
    fn locks(&self) -> Arc<dyn LockStore>;
}

/// One test for each thing that a [`LockStore`] must do; see [`locks`](crate::locks).
///
/// The argument is a function without parameters that returns a future of a
/// [`LocksUnderTest`](crate::locks::LocksUnderTest), named from inside a module: `super::fresh`.
#[macro_export]
macro_rules! lock_conformance {
    ($make:path) => {
        $crate::lock_conformance! { @facts $make;
            a_lock_has_one_holder_at_a_time_and_a_greater_token_for_each
            of_many_who_ask_at_once_one_gets_it
            a_lease_that_is_over_is_free_and_its_holder_has_nothing_any_more
            whoever_holds_it_asks_again_and_keeps_the_token
            a_renewal_begins_the_lease_anew
            nobody_renews_or_gives_up_what_another_holds
            a_change_takes_effect_only_under_the_newest_token
            a_change_under_a_lease_that_is_over_takes_effect_until_somebody_else_has_the_lock
            a_lock_that_was_given_up_or_never_taken_lets_nothing_through
            a_lost_lock_is_told_before_anything_else
            a_token_grows_also_after_a_long_time
            who_waits_is_told_of_the_release
        }
    };
    (@facts $make:path; $($fact:ident)*) => {
        mod locks {
            $(
                #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $fact() {
                    $crate::locks::$fact($crate::lock_conformance!(@call $make)).await;
                }
            )*
        }
    };
    (@call $make:path) => { $make().await };
}

const MINUTE: Duration = Duration::from_secs(60);

fn holder() -> Holder {
    Holder::random().expect("random numbers")
}

async fn acquire(store: &dyn LockStore, name: &LockName, holder: Holder) -> Option<Token> {
    match store.acquire(name, holder, MINUTE).await.expect("the store works") {
        Acquired::Held(token) => Some(token),
        _ => None,
    }
}

/// Taken, for a minute.
async fn taken(store: &dyn LockStore, name: &LockName) -> (Holder, Token) {
    let holder = holder();
    (holder, acquire(store, name, holder).await.expect("it is free"))
}

async fn session(test: &impl StoreUnderTest) -> SessionKey {
    let key = SessionKey::of(&SessionId::generate());
    let create = Change {
        key,
        expect: Expect::default(),
        op: Op::Create(Box::default()),
    };
    assert!(test.store().commit(vec![create]).await.expect("the store works")[0].is_ok());
    key
}

/// Writes `value` under a lock.
async fn write(
    test: &impl StoreUnderTest,
    key: SessionKey,
    version: Option<Version>,
    value: u32,
    fence: Fence,
) -> Outcome {
    let attribute = Attribute {
        json: value.to_string().into(),
        version: Version(0),
        expires_at: None,
    };
    let edit = Edit {
        attributes: Some([("n".into(), attribute)].into()),
        fence: Some(fence),
        ..Edit::default()
    };
    let change = Change {
        key,
        expect: Expect { version, epoch: None },
        op: Op::Edit(Box::new(edit)),
    };
    test.store()
        .commit(vec![change])
        .await
        .expect("the store works")
        .remove(0)
}

async fn read(test: &impl StoreUnderTest, key: SessionKey) -> String {
    let found = test.store().load(&[key]).await.expect("the store works").remove(0);
    found.expect("it is there").attributes["n"].json.to_string()
}

pub async fn a_lock_has_one_holder_at_a_time_and_a_greater_token_for_each(test: impl LocksUnderTest) {
    let (store, name) = (test.locks(), LockName::new("a"));
    let mut last = Token(0);
    for _ in 0..5 {
        let (first, token) = taken(&*store, &name).await;
        assert!(token > last);
        last = token;
        let busy = store.acquire(&name, holder(), MINUTE).await.expect("the store works");
        let Acquired::Busy { remaining } = busy else {
            panic!("{busy:?}")
        };
        assert!(remaining <= MINUTE && remaining > MINUTE / 2, "{remaining:?}");
        assert!(
            acquire(&*store, &LockName::new("b"), holder()).await.is_some(),
            "another lock"
        );
        assert!(store.release(name.key(), first).await.expect("the store works"));
        test.advance(2 * MINUTE);
    }
}

pub async fn of_many_who_ask_at_once_one_gets_it(test: impl LocksUnderTest) {
    let store = test.locks();
    for round in 0..5 {
        let name = LockName::new(&format!("lock {round}"));
        let asking: Vec<_> = (0..40)
            .map(|_| {
                let (store, name) = (Arc::clone(&store), name.clone());
                tokio::spawn(async move { acquire(&*store, &name, holder()).await })
            })
            .collect();
        let mut got = 0;
        for one in asking {
            got += usize::from(one.await.expect("no panic").is_some());
        }
        assert_eq!(got, 1);
    }
}

pub async fn a_lease_that_is_over_is_free_and_its_holder_has_nothing_any_more(test: impl LocksUnderTest) {
    let (store, name) = (test.locks(), LockName::of_session(&SessionId::generate(), "a"));
    let (first, old) = taken(&*store, &name).await;
    test.advance(MINUTE);
    assert!(!store.renew(name.key(), first, MINUTE).await.expect("the store works"));
    assert!(!store.release(name.key(), first).await.expect("the store works"));
    let (second, new) = taken(&*store, &name).await;
    assert!(new > old);
    assert!(!store.renew(name.key(), first, MINUTE).await.expect("the store works"));
    assert!(!store.release(name.key(), first).await.expect("the store works"));
    assert!(store.renew(name.key(), second, MINUTE).await.expect("the store works"));
}

pub async fn whoever_holds_it_asks_again_and_keeps_the_token(test: impl LocksUnderTest) {
    let (store, name) = (test.locks(), LockName::new("a"));
    let (holder, token) = taken(&*store, &name).await;
    test.advance(MINUTE / 2);
    assert_eq!(acquire(&*store, &name, holder).await, Some(token));
    test.advance(MINUTE * 3 / 4);
    assert_eq!(
        acquire(&*store, &name, holder).await,
        Some(token),
        "the lease began anew"
    );
    test.advance(MINUTE);
    let late = acquire(&*store, &name, holder).await.expect("it is free");
    assert!(late > token, "it was over in between");
}

pub async fn a_renewal_begins_the_lease_anew(test: impl LocksUnderTest) {
    let (store, name) = (test.locks(), LockName::new("a"));
    let (holder, _) = taken(&*store, &name).await;
    for _ in 0..5 {
        test.advance(MINUTE * 3 / 4);
        assert!(store.renew(name.key(), holder, MINUTE).await.expect("the store works"));
        assert!(acquire(&*store, &name, self::holder()).await.is_none());
    }
    assert!(
        store
            .renew(name.key(), holder, MINUTE / 6)
            .await
            .expect("the store works")
    );
    test.advance(MINUTE / 6);
    assert!(
        acquire(&*store, &name, self::holder()).await.is_some(),
        "of another length"
    );
}

pub async fn nobody_renews_or_gives_up_what_another_holds(test: impl LocksUnderTest) {
    let (store, name) = (test.locks(), LockName::new("a"));
    let stranger = holder();
    assert!(
        !store
            .renew(name.key(), stranger, MINUTE)
            .await
            .expect("the store works")
    );
    let _ = taken(&*store, &name).await;
    assert!(
        !store
            .renew(name.key(), stranger, MINUTE)
            .await
            .expect("the store works")
    );
    assert!(!store.release(name.key(), stranger).await.expect("the store works"));
    assert!(acquire(&*store, &name, stranger).await.is_none());
}

pub async fn a_change_takes_effect_only_under_the_newest_token(test: impl LocksUnderTest) {
    let (store, name, key) = (test.locks(), LockName::new("a"), session(&test).await);
    let fence = |token| Fence {
        lock: name.key(),
        token,
    };
    let (_, old) = taken(&*store, &name).await;
    assert!(write(&test, key, None, 1, fence(old)).await.is_ok());
    test.advance(MINUTE);
    let (_, new) = taken(&*store, &name).await;
    assert!(write(&test, key, None, 2, fence(new)).await.is_ok());
    let late = write(&test, key, None, 3, fence(old)).await;
    assert_eq!(late, Err(Conflict::Fence { lock: name.key() }));
    let invented = write(&test, key, None, 4, fence(Token(new.0 + 1))).await;
    assert_eq!(invented, Err(Conflict::Fence { lock: name.key() }));
    assert_eq!(read(&test, key).await, "2");
}

pub async fn a_change_under_a_lease_that_is_over_takes_effect_until_somebody_else_has_the_lock(
    test: impl LocksUnderTest,
) {
    let (store, name, key) = (test.locks(), LockName::new("a"), session(&test).await);
    let (_, token) = taken(&*store, &name).await;
    let fence = Fence {
        lock: name.key(),
        token,
    };
    test.advance(2 * MINUTE);
    assert!(write(&test, key, None, 1, fence).await.is_ok());
    let _ = taken(&*store, &name).await;
    assert!(write(&test, key, None, 2, fence).await.is_err());
}

pub async fn a_lock_that_was_given_up_or_never_taken_lets_nothing_through(test: impl LocksUnderTest) {
    let (store, name, key) = (test.locks(), LockName::new("a"), session(&test).await);
    let (holder, token) = taken(&*store, &name).await;
    assert!(store.release(name.key(), holder).await.expect("the store works"));
    for lock in [name.key(), LockName::new("b").key()] {
        let outcome = write(&test, key, None, 1, Fence { lock, token }).await;
        assert_eq!(outcome, Err(Conflict::Fence { lock }));
    }
}

pub async fn a_lost_lock_is_told_before_anything_else(test: impl LocksUnderTest) {
    let (store, name, key) = (test.locks(), LockName::new("a"), session(&test).await);
    let (_, token) = taken(&*store, &name).await;
    let good = Fence {
        lock: name.key(),
        token,
    };
    let version = write(&test, key, None, 1, good).await.expect("a good change").version;
    let conflict = write(&test, key, Some(Version(version.0 + 1)), 2, good).await;
    assert!(matches!(conflict, Err(Conflict::Version { .. })), "{conflict:?}");
    let bad = Fence {
        token: Token(token.0 + 9),
        ..good
    };
    let nobody = SessionKey::of(&SessionId::generate());
    for (key, version) in [(key, version), (key, Version(version.0 + 1)), (nobody, version)] {
        let conflict = write(&test, key, Some(version), 2, bad).await;
        assert!(matches!(conflict, Err(Conflict::Fence { .. })), "{conflict:?}");
    }
    assert!(write(&test, key, Some(version), 2, good).await.is_ok());
    assert_eq!(write(&test, nobody, None, 1, good).await, Err(Conflict::Missing));
}

pub async fn a_token_grows_also_after_a_long_time(test: impl LocksUnderTest) {
    let (store, name) = (test.locks(), LockName::new("a"));
    let mut last = Token(0);
    for _ in 0..4 {
        let (holder, token) = taken(&*store, &name).await;
        assert!(token > last);
        last = token;
        assert!(store.release(name.key(), holder).await.expect("the store works"));
        test.advance(10 * 24 * 60 * MINUTE);
        // Cleanup may take what nobody has used for a long time.
        test.store().delete_expired(10).await.expect("the store works");
    }
}

pub async fn who_waits_is_told_of_the_release(test: impl LocksUnderTest) {
    let (store, name) = (test.locks(), LockName::new("a"));
    let (holder, _) = taken(&*store, &name).await;
    let freed = store.freed(name.key());
    assert!(acquire(&*store, &name, self::holder()).await.is_none());
    assert!(store.release(name.key(), holder).await.expect("the store works"));
    freed.await;
}
