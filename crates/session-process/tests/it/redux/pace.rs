//! Throttle and debounce, by a clock that the test drives.

use session_process::redux::{Dispatched, Pace, Setup};

use super::*;

fn paced() -> Setup<Cart> {
    Setup::new().pace(|action| match action {
        CartAction::Add { item, .. } if item == "typed" => Some(Pace::debounce("typing", SECOND)),
        CartAction::Add { item, .. } if item == "scrolled" => Some(Pace::throttle("scrolling", SECOND)),
        _ => None,
    })
}

#[tokio::test]
async fn of_debounced_actions_the_last_happens_when_it_is_quiet() {
    let (sessions, clock) = cart(paced()).await;
    let a = id("a");
    for n in 1..=3 {
        assert_eq!(sessions.dispatch(&a, add("typed", n)).await.unwrap(), Dispatched::Held);
        settle().await;
        clock.advance(SECOND / 2);
        settle().await;
    }
    sessions.dispatch(&a, add("bought", 100)).await.unwrap();
    assert_eq!(total(&sessions).await, 100, "others are not held");
    clock.advance(SECOND / 2);
    settle().await;
    assert_eq!(total(&sessions).await, 103);
    clock.advance(10 * SECOND);
    settle().await;
    assert_eq!(total(&sessions).await, 103, "once");
    assert_eq!(sessions.session_stats(&a).unwrap().tasks, 0);
}

#[tokio::test]
async fn of_throttled_actions_the_first_happens_at_once_and_the_latest_in_each_period() {
    let (sessions, clock) = cart(paced()).await;
    let a = id("a");
    assert_eq!(
        sessions.dispatch(&a, add("scrolled", 1)).await.unwrap().position(),
        Some(1)
    );
    for n in [10, 20, 30] {
        assert_eq!(
            sessions.dispatch(&a, add("scrolled", n)).await.unwrap(),
            Dispatched::Held
        );
    }
    settle().await;
    clock.advance(SECOND);
    settle().await;
    assert_eq!(total(&sessions).await, 31);
    assert_eq!(
        sessions.dispatch(&a, add("scrolled", 100)).await.unwrap(),
        Dispatched::Held
    );
    settle().await;
    clock.advance(SECOND);
    settle().await;
    assert_eq!(total(&sessions).await, 131);
    settle().await;
    clock.advance(SECOND);
    settle().await;
    assert!(
        sessions
            .dispatch(&a, add("scrolled", 1000))
            .await
            .unwrap()
            .position()
            .is_some()
    );
}
