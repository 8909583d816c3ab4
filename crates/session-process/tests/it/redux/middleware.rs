//! Middleware: in order; pass on, change, reject, follow.

use session_process::redux::{After, Logging, Middleware, Rejection, Setup};
use testkit::capture_tracing;

use super::*;

struct Marks(&'static str);

impl Middleware<Cart> for Marks {
    fn name(&self) -> &'static str {
        self.0
    }

    fn before(&self, action: CartAction, _: &Cart) -> Result<CartAction, Rejection> {
        match action {
            CartAction::Add { item, price } if item == self.0 => Err(format!("no {item} at {price}").into()),
            CartAction::Add { item, price } => Ok(add(&format!("{item}{}", self.0), price)),
            other => Ok(other),
        }
    }

    fn after(&self, action: &CartAction, store: &mut After<'_, Cart>) {
        if let CartAction::Add { price, .. } = action
            && *price > 0
        {
            assert_eq!(store.state().items.len() as u64, store.position());
            store.follow(add("and", price - 1));
        }
    }
}

#[tokio::test]
async fn middleware_changes_rejects_and_follows_in_order() {
    let (sessions, _clock) = cart(Setup::new().middleware(Marks("-x")).middleware(Marks("-y"))).await;
    let a = id("a");
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    let items = sessions.state(&a).await.unwrap().items;
    // Both middlewares follow, and what follows goes through both.
    assert_eq!(items, ["tea-x-y", "and-x-y", "and-x-y"]);
    let rejected = sessions.dispatch(&a, add("-x", 3)).await.unwrap_err();
    assert_eq!(rejected.to_string(), "the action was rejected by -x: no -x at 3");
    assert_eq!(rejected.kind(), "rejected");
    assert_eq!(sessions.history(&a).await.unwrap().steps.len(), 3);
}

#[tokio::test]
async fn actions_that_follow_one_another_for_good_are_cut_off() {
    let setup = Setup::new()
        .max_follow_ups(10)
        .effect(|_, store: &mut After<'_, Cart>| store.follow(add("again", 1)));
    let (sessions, _clock) = cart(setup).await;
    let (log, _guard) = capture_tracing();
    sessions.dispatch(&id("a"), add("tea", 1)).await.unwrap();
    assert_eq!(total(&sessions).await, 11);
    assert!(log.text().contains("more actions follow one another than may"));
}

#[tokio::test]
async fn validation_rejects_and_logging_names_actions_but_not_what_they_hold() {
    let setup = Setup::new()
        .middleware(Logging)
        .validate(|action, cart: &Cart| match action {
            CartAction::Add { price, .. } if cart.total + price > 100 => Err("that is too much".into()),
            _ => Ok(()),
        });
    let (sessions, _clock) = cart(setup).await;
    let (log, _guard) = capture_tracing();
    let a = id("a");
    sessions.dispatch(&a, add("secret-tea", 100)).await.unwrap();
    let rejected = sessions.dispatch(&a, add("secret-mug", 1)).await.unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "the action was rejected by validation: that is too much"
    );
    let text = log.text();
    assert!(text.contains("action=Add") && text.contains("position=1"), "{text}");
    assert!(
        text.contains(&a.public_handle().to_string()) && !text.contains("secret"),
        "{text}"
    );
}
