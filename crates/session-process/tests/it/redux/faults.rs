//! Panics in the user's code: as if the action had never come.

use session_process::redux::{After, Middleware, Refused, Rejection, Setup};

use super::*;

#[tokio::test]
async fn a_panicking_reducer_leaves_state_and_history_as_they_were() {
    for history in [0, 2, 100] {
        let (sessions, _clock) = cart(Setup::new().history(history)).await;
        let a = id("a");
        for n in 1..=5 {
            sessions.dispatch(&a, add("tea", n)).await.unwrap();
        }
        sessions.undo(&a).await.unwrap();
        let (state, before) = (sessions.state(&a).await.unwrap(), sessions.history(&a).await.unwrap());
        let broken = sessions.dispatch(&a, CartAction::Break).await.unwrap_err();
        assert_eq!(broken.kind(), "reducer_panicked");
        assert_eq!(sessions.state(&a).await.unwrap(), state);
        assert_eq!(
            sessions.history(&a).await.unwrap(),
            before,
            "and what was undone can be redone"
        );
        sessions.dispatch(&a, add("milk", 1)).await.unwrap();
        assert_eq!(sessions.state(&a).await.unwrap().total, state.total + 1);
    }
}

struct Breaks {
    before: bool,
}

impl Middleware<Cart> for Breaks {
    fn name(&self) -> &'static str {
        "breaks"
    }

    fn before(&self, action: CartAction, _: &Cart) -> Result<CartAction, Rejection> {
        assert!(!(self.before && action == CartAction::Clear), "as told");
        Ok(action)
    }

    fn after(&self, action: &CartAction, _: &mut After<'_, Cart>) {
        assert!(*action != CartAction::Clear, "as told");
    }
}

#[tokio::test]
async fn a_panicking_middleware_leaves_state_history_and_subscribers_as_they_were() {
    for (before, history) in [(true, 100), (false, 100), (false, 0), (false, 1)] {
        let setup = Setup::new()
            .history(history)
            .effect(|action, store: &mut After<'_, Cart>| {
                if *action == CartAction::Clear {
                    store.follow(add("never", 1));
                    store.start("never", async { add("never", 1) });
                }
            })
            .middleware(Breaks { before });
        let (sessions, _clock) = cart(setup).await;
        let a = id("a");
        sessions.dispatch(&a, add("tea", 1)).await.unwrap();
        sessions.dispatch(&a, add("tea", 2)).await.unwrap();
        sessions.undo(&a).await.unwrap();
        let (state, steps) = (sessions.state(&a).await.unwrap(), sessions.history(&a).await.unwrap());
        let mut changes = sessions.subscribe_ref(&a, |cart| &cart.items).await.unwrap();
        changes.next().await.unwrap();
        let broken = sessions.dispatch(&a, CartAction::Clear).await.unwrap_err();
        assert!(matches!(
            broken,
            session_process::redux::DispatchError::Refused(Refused::MiddlewarePanicked { by: "breaks" })
        ));
        settle().await;
        assert_eq!(sessions.state(&a).await.unwrap(), state);
        assert_eq!(sessions.history(&a).await.unwrap(), steps);
        assert_eq!(sessions.session_stats(&a).unwrap().tasks, 0, "nothing was started");
        sessions.terminate(&a).await.unwrap();
        assert_eq!(changes.next().await, None, "nobody saw the state in between");
    }
}

#[tokio::test]
async fn a_reducer_that_is_not_pure_can_break_nothing_but_its_own_session() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static BROKEN: AtomicBool = AtomicBool::new(false);
    #[derive(Clone, Default)]
    struct Fickle(i64);
    impl Reducer for Fickle {
        type Action = i64;
        fn reduce(&mut self, n: &i64) {
            assert!(!BROKEN.load(Ordering::Relaxed), "as told");
            self.0 += n;
        }
    }
    let sessions = Sessions::<Store<Fickle>>::builder().build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.dispatch(&a, 1).await.unwrap();
    BROKEN.store(true, Ordering::Relaxed);
    let crashed = sessions.dispatch(&a, 1).await.unwrap_err();
    assert_eq!(crashed.kind(), "crashed", "its history can't be applied again");
    BROKEN.store(false, Ordering::Relaxed);
    sessions.dispatch(&a, 5).await.unwrap();
    assert_eq!(sessions.state(&a).await.unwrap().0, 5, "it began anew");
}
