//! [`combine!`](crate::redux::combine): one reducer of many.

/// Makes one reducer of a struct of slices, and one action of theirs. Also known as `redux::combine!`.
///
/// Each slice is a [`Reducer`](crate::redux::Reducer) of its own, written once and used in as many stores as one likes.
/// A line is `field: Reducer => Variant`; the combined action has that variant for the slice's actions, and is made
/// from them by `From`. So an action reaches its slice by its type, and by name it is `slice.action`.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_process::{SessionId, Sessions, redux::{self, Reducer, Setup, Store}};
///
/// #[derive(Debug, Clone, Default)]
/// struct Cart { items: Vec<String> }
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum CartAction { AddItem { id: String }, Clear }
///
/// impl Reducer for Cart {
///     type Action = CartAction;
///     fn reduce(&mut self, action: &CartAction) {
///         match action {
///             CartAction::AddItem { id } => self.items.push(id.clone()),
///             CartAction::Clear => self.items.clear(),
///         }
///     }
/// }
///
/// #[derive(Debug, Clone, Default)]
/// struct Theme { dark: bool }
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum ThemeAction { SetDark(bool) }
///
/// impl Reducer for Theme {
///     type Action = ThemeAction;
///     fn reduce(&mut self, ThemeAction::SetDark(dark): &ThemeAction) { self.dark = *dark; }
/// }
///
/// redux::combine! {
///     /// All there is to a visitor.
///     #[derive(Debug, Clone, Default)]
///     pub struct Visitor => #[derive(Debug, Clone, Serialize, Deserialize)]
///                           #[serde(rename_all = "snake_case")]
///                           VisitorAction {
///         cart: Cart => Cart,
///         theme: Theme => Theme,
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::<Store<Visitor>>::builder()
///     .extension(Setup::<Visitor>::new().accept_by_name(["cart.*"]))
///     .build()?;
/// let id = SessionId::generate();
/// sessions.start(&id).await?;
///
/// // By type, to its slice:
/// sessions.dispatch(&id, ThemeAction::SetDark(true)).await?;
/// // With the slice named:
/// sessions.dispatch(&id, VisitorAction::Cart(CartAction::Clear)).await?;
/// // By name, from the network:
/// sessions.dispatch_by_name(&id, "cart.add_item", serde_json::json!({ "id": "tea" })).await?;
/// assert!(sessions.dispatch_by_name(&id, "theme.set_dark", true.into()).await.is_err(), "not accepted");
///
/// let visitor = sessions.state(&id).await?;
/// assert!(visitor.theme.dark && visitor.cart.items == ["tea"]);
/// # Ok(()) }
/// ```
///
/// A reducer that stands for two slices of one store has one action type for both, so its actions alone can't say
/// which is meant. Mark such slices `explicit`, and name the slice: `PairAction::Left(1)`.
///
/// ```
/// # use session_process::redux::{self, Reducer};
/// # #[derive(Clone, Default)] struct Counter(i64);
/// # impl Reducer for Counter { type Action = i64; fn reduce(&mut self, n: &i64) { self.0 += n; } }
/// redux::combine! {
///     #[derive(Clone, Default)]
///     struct Pair => PairAction {
///         left: Counter => Left explicit,
///         right: Counter => Right explicit,
///     }
/// }
/// let mut pair = Pair::default();
/// pair.reduce(&PairAction::Left(1));
/// assert_eq!((pair.left.0, pair.right.0), (1, 0));
/// ```
///
/// With `durable(…)` behind the action's name, that is its [`DURABILITY`](crate::redux::Reducer::DURABILITY). The history
/// is kept with the state, so the actions go through serde as well:
///
/// ```
/// # use std::sync::Arc;
/// # use serde::{Deserialize, Serialize};
/// # use session_process::{Durability, Schema, SessionId, Sessions, records::SessionRecords, store::MemoryStore};
/// # use session_process::redux::{self, Reducer, Store};
/// # #[derive(Clone, Default, Serialize, Deserialize)] struct Counter(i64);
/// # impl Reducer for Counter { type Action = i64; fn reduce(&mut self, n: &i64) { self.0 += n; } }
/// redux::combine! {
///     #[derive(Clone, Default, Serialize, Deserialize)]
///     struct Visitor => #[derive(Clone, Serialize, Deserialize)]
///                       VisitorAction durable(Durability::write_through(Schema::json("visitor", 1))) {
///         visits: Counter => Visits,
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let id = SessionId::generate();
/// for visits in 1..=2 {
///     // A program that ends without a word, and the next one.
///     let records = SessionRecords::builder_over(store.clone()).build()?;
///     let sessions = Sessions::<Store<Visitor>>::builder().records(records).build()?;
///     if visits == 1 {
///         sessions.start(&id).await?;
///     }
///     sessions.dispatch(&id, 1).await?;
///     assert_eq!(sessions.state(&id).await?.visits.0, visits);
/// }
/// # Ok(()) }
/// ```
#[macro_export]
macro_rules! combine_reducers {
    (
        $(#[$of_state:meta])*
        $vis:vis struct $State:ident => $(#[$of_action:meta])* $Action:ident $(durable($durability:expr))? {
            $(
                $(#[$of_field:meta])*
                $field_vis:vis $field:ident: $Slice:ty => $Variant:ident $($explicit:ident)?
            ),+ $(,)?
        }
    ) => {
        $(#[$of_state])*
        $vis struct $State {
            $(
                #[doc = ::core::concat!("The slice `", ::core::stringify!($field), "`.")]
                $(#[$of_field])*
                $field_vis $field: $Slice
            ),+
        }

        #[doc = ::core::concat!("What can happen to [`", ::core::stringify!($State), "`].")]
        $(#[$of_action])*
        $vis enum $Action {
            $(
                #[doc = ::core::concat!("An action of the slice `", ::core::stringify!($field), "`.")]
                $Variant(<$Slice as $crate::redux::Reducer>::Action)
            ),+
        }

        impl $crate::redux::Reducer for $State {
            type Action = $Action;
            $(const DURABILITY: $crate::Durability<$crate::redux::Store<Self>> = $durability;)?

            fn reduce(&mut self, action: &$Action) {
                match action {
                    $($Action::$Variant(action) => $crate::redux::Reducer::reduce(&mut self.$field, action)),+
                }
            }
        }

        $($crate::combine_reducers!(@from $Action $Variant ($Slice) $($explicit)?);)+
    };
    (@from $Action:ident $Variant:ident ($Slice:ty)) => {
        impl ::core::convert::From<<$Slice as $crate::redux::Reducer>::Action> for $Action {
            fn from(action: <$Slice as $crate::redux::Reducer>::Action) -> Self {
                Self::$Variant(action)
            }
        }
    };
    (@from $Action:ident $Variant:ident ($Slice:ty) explicit) => {};
    (@from $Action:ident $Variant:ident ($Slice:ty) $other:ident) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($other), "`? After a slice's variant may come `explicit`, and nothing else"
        ));
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "`combine!` takes `struct State => Action { field: Reducer => Variant, … }`, with attributes and visibility where Rust has them"
        );
    };
}

#[doc(inline)]
pub use combine_reducers as combine;
