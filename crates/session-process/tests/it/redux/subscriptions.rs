//! Subscriptions: the value now, then changes; latest for slow readers; gone without a trace.

use std::{pin::Pin, sync::Arc};

use futures_core::Stream;
use session_process::{
    CallError,
    redux::{Error, Setup, SubscriptionEnd},
};

use super::*;

#[tokio::test]
async fn a_subscription_tells_the_value_now_and_then_changes_only() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    let mut counts = sessions.subscribe(&a, |cart| cart.items.len()).await.unwrap();
    let mut totals = sessions.subscribe_ref(&a, |cart| &cart.total).await.unwrap();
    assert_eq!((counts.next().await, totals.next().await), (Some(0), Some(0)));
    sessions.dispatch(&a, add("free", 0)).await.unwrap();
    assert_eq!(counts.next().await, Some(1));
    sessions.dispatch(&a, add("tea", 3)).await.unwrap();
    assert_eq!(totals.next().await, Some(3), "nothing was told of the one that is free");
    sessions.undo(&a).await.unwrap();
    sessions.undo(&a).await.unwrap();
    assert_eq!(counts.next().await, Some(0), "the latest");
    assert_eq!(totals.next().await, Some(0));
}

#[tokio::test]
async fn a_subscription_ends_with_its_session_after_its_last_value() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    let mut totals = sessions.subscribe(&a, |cart| cart.total).await.unwrap();
    sessions.dispatch(&a, add("tea", 3)).await.unwrap();
    sessions.terminate(&a).await.unwrap();
    assert_eq!(totals.ended(), Some(SubscriptionEnd::SessionEnded));
    assert_eq!(totals.next().await, Some(3));
    assert_eq!(totals.next().await, None);
    let gone = sessions.subscribe(&a, |cart| cart.total).await.unwrap_err();
    assert!(matches!(gone, Error::Call(CallError::NotStarted { .. })));
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_a_change_and_by_the_end() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    let mut totals = sessions.subscribe(&a, |cart| cart.total).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(total) = std::future::poll_fn(|cx| Pin::new(&mut totals).poll_next(cx)).await {
            seen.push(total);
        }
        seen
    });
    for n in 1..=3 {
        settle().await;
        sessions.dispatch(&a, add("tea", n)).await.unwrap();
    }
    settle().await;
    sessions.terminate(&a).await.unwrap();
    assert_eq!(reader.await.unwrap(), [0, 1, 3, 6]);
}

#[tokio::test]
async fn a_subscriber_that_never_reads_costs_one_value() {
    #[derive(Clone, PartialEq)]
    struct Counted(i64, Arc<()>);
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    let alive = Arc::new(());
    let counter = Arc::clone(&alive);
    let mut totals = sessions
        .subscribe(&a, move |cart| Counted(cart.total, Arc::clone(&counter)))
        .await
        .unwrap();
    for n in 0..1_000 {
        sessions.dispatch(&a, add("tea", n)).await.unwrap();
    }
    // Ours, the selector's, the store's last value, and the one that waits.
    assert_eq!(Arc::strong_count(&alive), 4);
    assert_eq!(totals.next().await.map(|counted| counted.0), Some(499_500));
    drop(totals);
    assert_eq!(Arc::strong_count(&alive), 1, "nothing of it is left");
}

#[tokio::test]
async fn ten_thousand_subscriptions_that_were_dropped_leave_none_behind() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    let alive = Arc::new(());
    let mut open = Vec::new();
    for _ in 0..10_000 {
        let held = Arc::clone(&alive);
        let select = move |cart: &Cart| {
            let _held = &held;
            cart.total
        };
        open.push(sessions.subscribe(&a, select).await.unwrap());
    }
    assert_eq!(sessions.store_stats(&a).await.unwrap().subscriptions, 10_000);
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    drop(open);
    // Without any other message to the session.
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(sessions.store_stats(&a).await.unwrap().subscriptions, 0);
}

#[tokio::test]
async fn a_panicking_selector_ends_its_own_subscription_only() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    let mut careful = sessions.subscribe(&a, |cart| cart.total).await.unwrap();
    let mut careless = sessions
        .subscribe(&a, |cart| {
            assert!(cart.total < 2, "as told");
            cart.total
        })
        .await
        .unwrap();
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    assert_eq!(careless.next().await, Some(1));
    assert_eq!(careless.next().await, None);
    assert_eq!(careless.ended(), Some(SubscriptionEnd::SelectorPanicked));
    assert_eq!(careful.next().await, Some(2));
    assert_eq!(sessions.store_stats(&a).await.unwrap().subscriptions, 1);
    let at_once = sessions
        .subscribe(&a, |_| -> i64 { panic!("as told") })
        .await
        .unwrap_err();
    assert!(matches!(at_once, Error::SelectorPanicked));
    let select = sessions.select(&a, |_| -> i64 { panic!("as told") }).await.unwrap_err();
    assert!(matches!(select, Error::SelectorPanicked));
    assert_eq!(total(&sessions).await, 2, "the process lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_subscribers_see_one_order() {
    let sessions = Sessions::<Store<Cart>>::builder().build().unwrap();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut items = sessions.subscribe_ref(&a, |cart| &cart.items).await.unwrap();
        readers.push(tokio::spawn(async move {
            let mut seen: Vec<Vec<String>> = Vec::new();
            while let Some(items) = items.next().await {
                seen.push(items);
            }
            seen
        }));
    }
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (sessions, a) = (sessions.clone(), a.clone());
            tokio::spawn(async move {
                for n in 0..50 {
                    sessions.dispatch(&a, add(&format!("{writer}-{n}"), 1)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let last = sessions.state(&a).await.unwrap().items;
    sessions.terminate(&a).await.unwrap();
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen.last(), Some(&last));
        // Every value is a beginning of the last one, and longer than the one before: one order for all.
        assert!(seen.iter().all(|items| last.starts_with(items)));
        assert!(seen.is_sorted_by_key(Vec::len));
    }
}

#[tokio::test]
async fn there_are_no_more_subscriptions_than_may_be() {
    let (sessions, _clock) = cart(Setup::new().max_subscriptions(1)).await;
    let a = id("a");
    let first = sessions.subscribe(&a, |cart| cart.total).await.unwrap();
    let second = sessions.subscribe(&a, |cart| cart.total).await.unwrap_err();
    assert!(matches!(second, Error::TooManySubscriptions { max: 1 }));
    drop(first);
    let _third = sessions.subscribe(&a, |cart| cart.total).await.unwrap();
}
