//! Locks as their users meet them, on clocks that the test drives: one for each node, and one for the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use session_process::{
    ManualClock, SessionId,
    locks::Locks,
    records::{NewSession, SessionRecords, UpdateError},
    store::{Acquired, BoxFuture, Holder, LockKey, LockName, LockStore, MemoryStore, StoreError},
};
use tokio::sync::Semaphore;

const LEASE: Duration = Duration::from_secs(9);

/// A store that says what it was asked, and that can be cut off.
struct Watched {
    store: Arc<MemoryStore>,
    refused: Semaphore,
    renewed: Semaphore,
    released: Semaphore,
    /// Renewals get no answer.
    cut_off: AtomicBool,
}

impl LockStore for Watched {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        holder: Holder,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Acquired, StoreError>> {
        Box::pin(async move {
            let acquired = self.store.acquire(name, holder, lease).await?;
            if matches!(acquired, Acquired::Busy { .. }) {
                self.refused.add_permits(1);
            }
            Ok(acquired)
        })
    }

    fn renew(&self, key: LockKey, holder: Holder, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            if self.cut_off.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
            let renewed = self.store.renew(key, holder, lease).await;
            self.renewed.add_permits(1);
            renewed
        })
    }

    fn release(&self, key: LockKey, holder: Holder) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let released = self.store.release(key, holder).await;
            self.released.add_permits(1);
            released
        })
    }

    fn freed(&self, key: LockKey) -> BoxFuture<'_, ()> {
        self.store.freed(key)
    }
}

/// Waits until the store has said so since the last time.
async fn once(said: &Semaphore) {
    said.acquire().await.expect("never closed").forget();
}

struct Nodes {
    store: Arc<Watched>,
    clock: ManualClock,
}

impl Nodes {
    fn new() -> Self {
        let clock = ManualClock::new();
        let store = Watched {
            store: Arc::new(MemoryStore::with_clock(clock.clone())),
            refused: Semaphore::new(0),
            renewed: Semaphore::new(0),
            released: Semaphore::new(0),
            cut_off: AtomicBool::new(false),
        };
        Self {
            store: Arc::new(store),
            clock,
        }
    }

    fn node(&self) -> (Locks, ManualClock) {
        let clock = ManualClock::new();
        let locks = Locks::over(Arc::clone(&self.store) as Arc<dyn LockStore>).with_lease(LEASE);
        (locks.with_clock(clock.clone()), clock)
    }

    fn records(&self) -> SessionRecords {
        let store = Arc::clone(&self.store.store);
        SessionRecords::builder_over(store).build().expect("good settings")
    }
}

#[tokio::test]
async fn a_lock_is_had_by_one_at_a_time_on_all_nodes() {
    let nodes = Nodes::new();
    let ((one, _), (two, _)) = (nodes.node(), nodes.node());
    let lock = one.lock("a").await.unwrap();
    assert!(lock.is_held());
    assert!(one.try_lock("a").await.unwrap().is_none());
    assert!(two.try_lock("a").await.unwrap().is_none());
    assert!(two.try_lock("b").await.unwrap().is_some());
    assert!(lock.release().await.unwrap());
    let next = two.try_lock("a").await.unwrap().expect("it is free");
    assert!(next.is_held());
}

#[tokio::test]
async fn who_waits_has_it_when_it_is_given_up_and_no_earlier() {
    let nodes = Nodes::new();
    let ((one, _), (two, _)) = (nodes.node(), nodes.node());
    let lock = one.lock("a").await.unwrap();
    let waiting = tokio::spawn(async move { two.lock("a").await.unwrap() });
    once(&nodes.store.refused).await;
    let next_here = tokio::spawn({
        let one = one.clone();
        async move { one.lock("a").await.unwrap() }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished() && !next_here.is_finished());
    let token = lock.token();
    // In the background.
    drop(lock);
    let (mut tokens, first, second) = (vec![token], waiting, next_here);
    let done = tokio::select! {
        lock = first => lock.unwrap(),
        lock = second => lock.unwrap(),
    };
    tokens.push(done.token());
    assert!(done.is_held() && tokens.is_sorted() && tokens[0] < tokens[1]);
}

#[tokio::test]
async fn who_has_waited_long_enough_goes_without() {
    let nodes = Nodes::new();
    let ((one, clock), (two, other_clock)) = (nodes.node(), nodes.node());
    let lock = one.lock("a").await.unwrap();
    // Behind another caller of this node, and behind another node.
    for (locks, clock, asks) in [(one, clock, false), (two.clone(), other_clock, true)] {
        let waiting = tokio::spawn(async move { locks.lock_within("a", Duration::from_millis(700)).await });
        if asks {
            once(&nodes.store.refused).await;
        } else {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_millis(699));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_millis(1));
        assert!(waiting.await.unwrap().unwrap().is_none());
    }
    assert!(lock.release().await.unwrap());
    assert!(
        two.lock_within("a", Duration::ZERO).await.unwrap().is_some(),
        "free is free"
    );
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_lock_behind() {
    let nodes = Nodes::new();
    let ((one, _), (two, _)) = (nodes.node(), nodes.node());
    let lock = one.lock("a").await.unwrap();
    let waiting = tokio::spawn(async move { two.lock("a").await });
    once(&nodes.store.refused).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert!(lock.release().await.unwrap());
    let again = one.lock("a").await.unwrap();
    assert!(again.is_held());
    // One whose lock comes just when it goes.
    let (three, _) = nodes.node();
    let waiting = tokio::spawn(async move { three.lock("b").await });
    waiting.abort();
    let _ = waiting.await;
    assert!(one.lock("b").await.unwrap().is_held());
}

#[tokio::test]
async fn a_lease_is_renewed_as_long_as_its_holder_lives() {
    let nodes = Nodes::new();
    let ((one, clock), (two, _)) = (nodes.node(), nodes.node());
    let lock = one.lock("a").await.unwrap();
    for _ in 0..10 {
        clock.advance(LEASE / 3);
        nodes.clock.advance(LEASE / 3);
        once(&nodes.store.renewed).await;
        assert!(lock.is_held() && two.try_lock("a").await.unwrap().is_none());
    }
    assert!(lock.extend(LEASE * 10).await.unwrap());
    assert!(lock.remaining() > LEASE * 8);
    once(&nodes.store.renewed).await;
    clock.advance(LEASE * 3);
    nodes.clock.advance(LEASE * 3);
    assert!(lock.is_held() && two.try_lock("a").await.unwrap().is_none());
    drop(lock);
    once(&nodes.store.released).await;
    assert!(two.try_lock("a").await.unwrap().is_some());
}

/// gopgsession: "lock with lease 1 s, heartbeat 200 ms, holder alive: taken by another at 1.3 s; the holder learns of it
/// when it unlocks".
#[tokio::test]
async fn a_holder_that_cannot_renew_is_told_before_another_can_have_it_and_its_late_write_is_refused() {
    let nodes = Nodes::new();
    let ((one, clock), (two, _)) = (nodes.node(), nodes.node());
    let records = nodes.records();
    let id = records.create(NewSession::new().attribute("n", 1)).await.unwrap().id;
    let name = LockName::of_session(&id, "payment");
    let lock = one.lock(&name).await.unwrap();
    nodes.store.cut_off.store(true, Ordering::Release);
    clock.advance(LEASE - LEASE / 10);
    nodes.clock.advance(LEASE - LEASE / 10);
    assert!(!lock.is_held());
    lock.lost().await;
    assert!(two.try_lock(&name).await.unwrap().is_none(), "the lease is not over");
    // Still its: nobody else has begun.
    let added = records.update_under(&id, lock.fence(), |attributes| attributes.insert("n", 2));
    added.await.unwrap();
    nodes.clock.advance(LEASE / 10);
    let next = two.try_lock(&name).await.unwrap().expect("the lease is over");
    let late = records
        .update_under(&id, lock.fence(), |attributes| attributes.insert("n", 3))
        .await;
    assert!(matches!(late, Err(UpdateError::LockLost)), "{late:?}");
    let good = records.update_under(&id, next.fence(), |attributes| {
        attributes.update("n", |n: &mut u32| *n += 10)
    });
    good.await.unwrap();
    assert_eq!(
        records.get(&id).await.unwrap().unwrap().get::<u32>("n").unwrap(),
        Some(12)
    );
    assert!(!lock.extend(LEASE).await.unwrap());
    assert!(!lock.release().await.unwrap());
    assert!(next.is_held(), "what is lost is not given up");
}

/// gopgsession: "a clock 61 s ahead steals at once".
#[tokio::test]
async fn a_clock_that_is_an_hour_off_gives_nobody_a_lock() {
    let nodes = Nodes::new();
    let ((one, clock), (two, other_clock)) = (nodes.node(), nodes.node());
    let lock = one.lock("a").await.unwrap();
    other_clock.advance(Duration::from_secs(3_600));
    assert!(two.try_lock("a").await.unwrap().is_none());
    assert!(lock.is_held());
    // Of its own node: it can only think that it is over too soon.
    nodes.store.cut_off.store(true, Ordering::Release);
    clock.advance(Duration::from_secs(3_600));
    lock.lost().await;
    assert!(two.try_lock("a").await.unwrap().is_none(), "time is the store's");
}

#[tokio::test]
async fn anybody_but_the_holder_is_refused_to_write_under_a_lock_and_updates_mix() {
    let nodes = Nodes::new();
    let ((locks, _), records) = (nodes.node(), nodes.records());
    let id = records.create(NewSession::new().attribute("n", 0)).await.unwrap().id;
    let lock = locks.lock("a").await.unwrap();
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let (records, id, fence) = (records.clone(), id.clone(), lock.fence());
            tokio::spawn(async move {
                if n % 3 == 0 {
                    let added =
                        records.update_under(&id, fence, |attributes| attributes.update("n", |n: &mut u32| *n += 1));
                    added.await.unwrap();
                } else {
                    let added = records.update(&id, |attributes| attributes.update("n", |n: &mut u32| *n += 1));
                    added.await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        records.get(&id).await.unwrap().unwrap().get::<u32>("n").unwrap(),
        Some(60)
    );
    let refused = records.update_under(&id, lock.fence(), |_| Err::<(), _>("no")).await;
    assert!(matches!(refused, Err(UpdateError::Refused("no"))));
    let nobody = SessionId::generate();
    let missing = records.update_under(&nobody, lock.fence(), |attributes| attributes.insert("n", 1));
    assert!(matches!(missing.await, Err(UpdateError::Missing)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tasks_on_two_nodes_are_never_two_at_a_time() {
    let nodes = Nodes::new();
    let ((one, _), (two, _)) = (nodes.node(), nodes.node());
    let inside = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (locks, inside) = (if n % 2 == 0 { one.clone() } else { two.clone() }, Arc::clone(&inside));
            tokio::spawn(async move {
                let lock = locks.lock("a").await.unwrap();
                assert!(!inside.swap(true, Ordering::AcqRel), "somebody else is here");
                tokio::task::yield_now().await;
                inside.store(false, Ordering::Release);
                let token = lock.token();
                if n % 5 == 0 {
                    drop(lock);
                } else {
                    assert!(lock.release().await.unwrap());
                }
                token
            })
        })
        .collect();
    let mut tokens = std::collections::BTreeSet::new();
    for task in tasks {
        tokens.insert(task.await.unwrap());
    }
    assert_eq!(tokens.len(), 100);
}
