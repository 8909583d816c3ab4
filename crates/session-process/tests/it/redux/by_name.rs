//! Combined reducers, and actions by name from the network.

use proptest::prelude::*;
use serde_json::{Value, json};
use session_process::redux::{self, DispatchError, Refused, Setup, action_from_name};

use super::*;

#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub(crate) struct Theme {
    dark: bool,
    size: u8,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ThemeAction {
    SetDark(bool),
    Resize(u8, u8),
    Toggle,
}

impl Reducer for Theme {
    type Action = ThemeAction;
    fn reduce(&mut self, action: &ThemeAction) {
        match action {
            ThemeAction::SetDark(dark) => self.dark = *dark,
            ThemeAction::Resize(a, b) => self.size = a.saturating_add(*b),
            ThemeAction::Toggle => self.dark = !self.dark,
        }
    }
}

redux::combine! {
    /// Two slices.
    #[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
    pub(crate) struct Visitor => #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
                                 #[serde(rename_all = "snake_case")]
                                 VisitorAction {
        pub(crate) cart: Cart => Cart,
        pub(crate) theme: Theme => Theme,
    }
}

// The same reducers in another store, one of them within a combined one.
redux::combine! {
    #[derive(Debug, Clone, Default)]
    struct Office => #[derive(Debug, serde::Deserialize)] #[serde(rename_all = "snake_case")] OfficeAction {
        visitor: Visitor => Visitor,
        front: Theme => Front explicit,
        back: Theme => Back explicit,
    }
}

async fn visitor(setup: Setup<Visitor>) -> Sessions<Store<Visitor>> {
    let sessions = Sessions::<Store<Visitor>>::builder().extension(setup).build().unwrap();
    sessions.start(&id("a")).await.unwrap();
    sessions
}

#[tokio::test]
async fn an_action_reaches_its_slice_by_type_by_target_and_by_name() {
    let sessions = visitor(Setup::new().accept_by_name(["cart.add", "theme.*"])).await;
    let a = id("a");
    sessions.dispatch(&a, ThemeAction::SetDark(true)).await.unwrap();
    sessions.dispatch(&a, VisitorAction::Cart(add("tea", 1))).await.unwrap();
    let payload = json!({ "item": "mug", "price": 2 });
    sessions.dispatch_by_name(&a, "cart.add", payload).await.unwrap();
    sessions
        .dispatch_by_name(&a, "theme.resize", json!([3, 4]))
        .await
        .unwrap();
    sessions
        .dispatch_by_name(&a, "theme.toggle", Value::Null)
        .await
        .unwrap();
    let state = sessions.state(&a).await.unwrap();
    assert_eq!(state.cart.items, ["tea", "mug"]);
    assert_eq!(state.theme, Theme { dark: false, size: 7 });
    let deep: OfficeAction = action_from_name("visitor.theme.set_dark", json!(true)).unwrap();
    let mut office = Office::default();
    office.reduce(&deep);
    office.reduce(&OfficeAction::Back(ThemeAction::Toggle));
    assert!(office.visitor.theme.dark && office.back.dark && !office.front.dark);
}

#[tokio::test]
async fn unknown_and_unaccepted_actions_are_one_error_and_a_wrong_payload_another() {
    let sessions = visitor(Setup::new().accept_by_name(["cart.*", "theme.toggle"])).await;
    let a = id("a");
    for name in [
        "cart.steal",
        "cart",
        "cart.",
        "",
        ".",
        "cart.add.more",
        "theme.set_dark",
        "theme.toggle.x",
        "cart.add\u{0}",
    ] {
        let error = sessions.dispatch_by_name(&a, name, Value::Null).await.unwrap_err();
        assert_eq!(error.kind(), "unknown_action", "{name:?}");
    }
    for (name, payload) in [
        ("cart.add", Value::Null),
        ("cart.add", json!({ "item": "tea", "price": "1" })),
        ("cart.clear", json!(1)),
        ("theme.toggle", json!([])),
    ] {
        let error = sessions.dispatch_by_name(&a, name, payload).await.unwrap_err();
        assert_eq!(error.kind(), "bad_payload", "{name}");
    }
    assert_eq!(sessions.store_stats(&a).await.unwrap().position, 0);
    let refused = visitor(Setup::new())
        .await
        .dispatch_by_name(&a, "cart.clear", Value::Null)
        .await;
    assert_eq!(
        refused.unwrap_err().kind(),
        "unknown_action",
        "none, unless the application says so"
    );
}

#[tokio::test]
async fn a_hook_sees_unknown_actions_and_may_give_another() {
    let setup = Setup::new()
        .accept_by_name(["*"])
        .on_unknown(|name, payload| match name {
            "old.add" => Some(add(payload["item"].as_str()?, 1).into()),
            "panic" => panic!("as told"),
            _ => None,
        });
    let sessions = visitor(setup).await;
    let a = id("a");
    sessions
        .dispatch_by_name(&a, "old.add", json!({ "item": "tea" }))
        .await
        .unwrap();
    assert_eq!(sessions.state(&a).await.unwrap().cart.items, ["tea"]);
    for (name, kind) in [
        ("old.steal", "unknown_action"),
        ("old.add", "unknown_action"),
        ("panic", "middleware_panicked"),
    ] {
        let error = sessions.dispatch_by_name(&a, name, Value::Null).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    let long = "é\n".repeat(500);
    let DispatchError::Refused(Refused::UnknownAction { name }) =
        sessions.dispatch_by_name(&a, long, Value::Null).await.unwrap_err()
    else {
        panic!("it is unknown");
    };
    assert!(name.len() <= 100 && !name.contains('\n'));
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("item|price|add|cart|.{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn names_and_payloads_of_any_kind_are_an_action_or_an_error(
        name in "(cart|theme|add|clear|set_dark|resize|toggle|\\.|.){0,6}",
        payload in anything(),
    ) {
        let outcome = action_from_name::<VisitorAction>(&name, payload);
        if let Err(error) = outcome {
            prop_assert!(["unknown_action", "bad_payload"].contains(&error.kind()));
        }
    }
}
