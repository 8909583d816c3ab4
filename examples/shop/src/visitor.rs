//! [`Visitor`]: what a session holds, as a Redux store of slices: the cart, preferences, who is signed in.

use serde::{Deserialize, Serialize};
use session_process::{
    Durability, Schema,
    redux::{self, After, Logging, Reducer, Setup, Store},
};
use session_process_axum::{Error, Session};

use crate::{
    cart::{Cart, CartAction},
    house::House,
};

redux::combine! {
    /// All there is to a visitor. No answer leaves before the change that it tells of is in the store.
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    pub struct Visitor => #[derive(Debug, Clone, Serialize, Deserialize)]
                          #[serde(rename_all = "snake_case")]
                          VisitorAction durable(Durability::write_through(Schema::json("visitor", 1))) {
        pub(crate) cart: Cart => Cart,
        pub(crate) preferences: Preferences => Preferences,
        pub(crate) account: Account => Account,
    }
}

/// How a visitor would have it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Preferences {
    pub(crate) gift_wrap: bool,
}

/// What can happen to preferences. They come from the page by name: `preferences.gift_wrap`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreferencesAction {
    /// With paper and a ribbon, or without.
    GiftWrap(bool),
}

impl Reducer for Preferences {
    type Action = PreferencesAction;
    fn reduce(&mut self, PreferencesAction::GiftWrap(wrap): &PreferencesAction) {
        self.gift_wrap = *wrap;
    }
}

/// Who is signed in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    pub(crate) user: Option<String>,
}

/// What can happen to an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountAction {
    /// Somebody has signed in.
    SignIn {
        /// Who.
        name: String,
    },
}

impl Reducer for Account {
    type Action = AccountAction;
    fn reduce(&mut self, AccountAction::SignIn { name }: &AccountAction) {
        self.user = Some(name.clone());
    }
}

/// What a page shows of a visitor.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct View {
    items: Vec<String>,
    count: usize,
    total_cents: u64,
    gift_wrap: bool,
    user: Option<String>,
}

impl Visitor {
    pub(crate) fn view(&self) -> View {
        View {
            items: self.cart.items.clone(),
            count: self.cart.items.len(),
            total_cents: self.cart.total_cents(),
            gift_wrap: self.preferences.gift_wrap,
            user: self.account.user.clone(),
        }
    }
}

/// The process behind a session.
pub type Visit = Store<Visitor>;

/// What stands around the reducer: a cart is checked before it changes, and the house hears of what is taken.
pub(crate) fn setup(house: House) -> Setup<Visitor> {
    Setup::new()
        .middleware(Logging)
        .validate(|action, visitor: &Visitor| match action {
            VisitorAction::Cart(action) => Ok(visitor.cart.check(action)?),
            _ => Ok(()),
        })
        .effect(move |action, store: &mut After<'_, Visitor>| {
            if let VisitorAction::Cart(CartAction::Add(item)) = action {
                let (house, item) = (house.clone(), item.clone());
                // One at a time would cancel the one before, so each has a key of its own.
                store.start(format!("taken {}", store.position()), async move {
                    house.taken(item).await;
                    None
                });
            }
        })
        // The rest is dispatched by the routes of this program alone.
        .accept_by_name(["preferences.*"])
}

/// Reads from the visitor. `None`: there is no session, and looking begins none.
pub(crate) async fn look<T: Send + 'static>(
    session: &Session<Visit>,
    select: impl FnOnce(&Visitor) -> T + Send + 'static,
) -> Result<Option<T>, Error> {
    let selected = session.call_if_started(redux::select(select)).await?;
    Ok(selected.map(|selected| selected.expect("a selector of ours that doesn't panic")))
}
