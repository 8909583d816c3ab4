//! Redux: a reducer's state as a session's process.

mod by_name;
mod costs;
mod effects;
mod faults;
mod history;
mod middleware;
mod pace;
mod subscriptions;

use session_process::{
    ManualClock, Sessions,
    redux::{Reducer, Setup, Store},
};

use crate::support::*;

/// A cart, and what can go wrong with it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Cart {
    pub(crate) items: Vec<String>,
    pub(crate) total: i64,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CartAction {
    Add {
        item: String,
        price: i64,
    },
    Clear,
    /// Changes the state and panics then.
    Break,
}

impl Reducer for Cart {
    type Action = CartAction;

    fn reduce(&mut self, action: &CartAction) {
        match action {
            CartAction::Add { item, price } => {
                self.items.push(item.clone());
                self.total += price;
            }
            CartAction::Clear => *self = Self::default(),
            CartAction::Break => {
                self.items.clear();
                panic!("as told");
            }
        }
    }
}

pub(crate) fn add(item: &str, price: i64) -> CartAction {
    let item = item.to_owned();
    CartAction::Add { item, price }
}

/// A started session `a` with this set-up.
pub(crate) async fn cart(setup: Setup<Cart>) -> (Sessions<Store<Cart>>, ManualClock) {
    let (sessions, clock) = with_clock::<Store<Cart>>(|builder| builder.extension(setup));
    sessions.start(&id("a")).await.unwrap();
    (sessions, clock)
}

pub(crate) async fn total(sessions: &Sessions<Store<Cart>>) -> i64 {
    sessions.select(&id("a"), |cart| cart.total).await.unwrap()
}

/// Lets all tasks go as far as they can, on a runtime of one thread.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
