//! What is not paid for: clones of the state, and states in the history.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

static CLONES: AtomicUsize = AtomicUsize::new(0);

#[derive(Default, PartialEq)]
struct Big {
    pages: Vec<u8>,
    count: u64,
}

impl Clone for Big {
    fn clone(&self) -> Self {
        CLONES.fetch_add(1, Ordering::Relaxed);
        Self {
            pages: self.pages.clone(),
            count: self.count,
        }
    }
}

impl Reducer for Big {
    type Action = u64;
    fn reduce(&mut self, n: &u64) {
        self.count += n;
    }
}

// One test, as it counts in a static: nextest runs each test in a process of its own, others don't.
#[tokio::test]
async fn no_dispatch_selection_or_subscription_clones_the_state() {
    let sessions = Sessions::<Store<Big>>::builder().build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    assert_eq!(CLONES.load(Ordering::Relaxed), 1, "the base");
    let mut counts = sessions.subscribe(&a, |big| big.count).await.unwrap();
    let mut pages = sessions.subscribe_ref(&a, |big| &big.pages).await.unwrap();
    // Far beyond the history.
    for n in 0..1_000u64 {
        sessions.dispatch(&a, n).await.unwrap();
        sessions.dispatch_later(&a, n).unwrap();
    }
    sessions.reset(&a).await.unwrap();
    sessions.dispatch(&a, 7u64).await.unwrap();
    sessions.redo(&a).await.unwrap();
    assert_eq!(sessions.select(&a, |big| big.count).await.unwrap(), 7);
    assert_eq!(counts.next().await, Some(7));
    assert_eq!(pages.next().await, Some(vec![]));
    assert_eq!(CLONES.load(Ordering::Relaxed), 1);
    sessions.undo(&a).await.unwrap();
    assert_eq!(CLONES.load(Ordering::Relaxed), 2, "the base, once more");
}

#[tokio::test]
async fn a_history_of_a_hundred_actions_holds_actions_and_not_states() {
    use std::sync::Arc;

    /// Counts its copies, by the thousand.
    #[derive(Clone)]
    struct Heavy {
        _parts: Vec<Arc<()>>,
    }
    impl Reducer for Heavy {
        type Action = Arc<()>;
        fn reduce(&mut self, _: &Arc<()>) {}
    }
    let (part, action) = (Arc::new(()), Arc::new(()));
    let sessions = Sessions::<Store<Heavy>>::builder().build().unwrap();
    let a = id("a");
    let heavy = session_process::redux::InitialState::new(Heavy {
        _parts: vec![Arc::clone(&part); 1_000],
    });
    sessions.start_with(&a, heavy).await.unwrap();
    let at_start = Arc::strong_count(&part);
    for _ in 0..250 {
        sessions.dispatch(&a, Arc::clone(&action)).await.unwrap();
    }
    assert_eq!(Arc::strong_count(&part), at_start, "no state more");
    assert_eq!(at_start, 3_001, "the state, its base, and what it was started with");
    assert_eq!(Arc::strong_count(&action), 101, "a hundred actions");
}
