//! Effects: asynchronous work that an action starts.

use session_process::redux::{After, Setup};
use testkit::Gate;

use super::*;

/// `Add` of something without a price asks for it; the price comes through the gate.
fn priced(gate: &Gate) -> Setup<Cart> {
    let gate = gate.clone();
    Setup::new().effect(move |action, store: &mut After<'_, Cart>| match action {
        CartAction::Add { item, price: 0 } => {
            let (gate, item) = (gate.clone(), item.clone());
            store.start("price", async move {
                gate.pass().await;
                add(&item, 42)
            });
        }
        CartAction::Clear => store.cancel("price"),
        _ => {}
    })
}

#[tokio::test]
async fn an_effect_dispatches_what_it_comes_to_and_the_store_goes_on_meanwhile() {
    let gate = Gate::new();
    let (sessions, _clock) = cart(priced(&gate)).await;
    let a = id("a");
    let mut totals = sessions.subscribe(&a, |cart| cart.total).await.unwrap();
    assert_eq!(totals.next().await, Some(0));
    sessions.dispatch(&a, add("tea", 0)).await.unwrap();
    gate.reached().await;
    sessions.dispatch(&a, add("mug", 1)).await.unwrap();
    assert_eq!(totals.next().await, Some(1));
    gate.open();
    assert_eq!(totals.next().await, Some(43));
    assert_eq!(sessions.session_stats(&a).unwrap().tasks, 0);
}

#[tokio::test]
async fn an_effect_is_cancelled_by_key_by_a_newer_one_and_by_the_end() {
    let gate = Gate::new();
    let (sessions, _clock) = cart(priced(&gate)).await;
    let a = id("a");
    sessions.dispatch(&a, add("tea", 0)).await.unwrap();
    gate.reached().await;
    sessions.dispatch(&a, add("mug", 0)).await.unwrap();
    gate.reached().await;
    assert_eq!(sessions.session_stats(&a).unwrap().tasks, 1, "the newer one alone");
    sessions.dispatch(&a, CartAction::Clear).await.unwrap();
    assert_eq!(sessions.session_stats(&a).unwrap().tasks, 0);
    sessions.dispatch(&a, add("tea", 0)).await.unwrap();
    gate.reached().await;
    assert!(sessions.cancel_effect(&a, "price").await.unwrap());
    assert!(!sessions.cancel_effect(&a, "price").await.unwrap());
    gate.open_for_all();
    settle().await;
    assert_eq!(total(&sessions).await, 0, "none of them dispatched anything");
}

#[tokio::test]
async fn an_effect_is_dropped_with_its_session_and_its_panic_is_its_own() {
    let gate = Gate::new();
    let held = std::sync::Arc::new(());
    let effect_holds = std::sync::Arc::clone(&held);
    let passing = gate.clone();
    let setup = Setup::new().effect(move |action, store: &mut After<'_, Cart>| {
        let (gate, held) = (passing.clone(), std::sync::Arc::clone(&effect_holds));
        match action {
            CartAction::Clear => store.start("breaks", breaks()),
            _ => store.start("waits", async move {
                let _held = held;
                gate.pass().await;
                None
            }),
        }
    });
    let (sessions, _clock) = cart(setup).await;
    let a = id("a");
    sessions.dispatch(&a, CartAction::Clear).await.unwrap();
    until(|| sessions.session_stats(&a).unwrap().tasks == 0).await;
    assert!(!sessions.cancel_effect(&a, "breaks").await.unwrap(), "it is over");
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    gate.reached().await;
    sessions.terminate(&a).await.unwrap();
    // Ours and that of the set-up.
    until(|| std::sync::Arc::strong_count(&held) == 2).await;
}

async fn breaks() -> CartAction {
    panic!("as told")
}
