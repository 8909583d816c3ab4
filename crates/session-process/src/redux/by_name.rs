//! Actions by name, from the network: `"cart.add_item"` with a JSON payload.
//!
//! A name is the way through the enums of an action, as serde names their variants: `cart` of the combined action, then
//! `add_item` of the slice's. So `Deserialize` is all an action needs. What serde would have to guess (untagged and
//! internally tagged enums) has no names.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::{
    Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, EnumAccess, VariantAccess, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::{DispatchError, Dispatched, Reducer, Refused, Setup, Store};
use crate::{Context, Handle, SessionId, Sessions};

/// Applies an action by its name: [`dispatch_by_name`].
pub struct DispatchByName {
    name: String,
    payload: Value,
}

/// Applies an action by its name, if [`Setup::accept_by_name`] accepts it. An action without a payload takes `null`.
/// The reply is `Result<Dispatched, Box<Refused>>`.
pub fn dispatch_by_name(name: impl Into<String>, payload: Value) -> DispatchByName {
    let name = name.into();
    DispatchByName { name, payload }
}

impl<R> Handle<DispatchByName> for Store<R>
where
    R: Reducer,
    R::Action: DeserializeOwned,
{
    type Reply = Result<Dispatched, Box<Refused>>;
    async fn handle(&mut self, by_name: DispatchByName, cx: &mut Context<Self>) -> Self::Reply {
        let setup = self.setup(cx);
        let action = catch_unwind(AssertUnwindSafe(|| find(&setup, by_name)));
        let action = action.map_err(|_| Refused::MiddlewarePanicked { by: "dispatch_by_name" })?;
        self.dispatch(action?, cx)
    }
}

impl<R: Reducer> Sessions<Store<R>>
where
    R::Action: DeserializeOwned,
{
    /// Applies an action by its name, from the network: see [`Setup::accept_by_name`], and
    /// [`combine!`](crate::redux::combine) for an example.
    ///
    /// # Errors
    /// As [`dispatch`](Self::dispatch); [`UnknownAction`](Refused::UnknownAction), [`BadPayload`](Refused::BadPayload).
    pub async fn dispatch_by_name(
        &self,
        id: &SessionId,
        name: impl Into<String>,
        payload: Value,
    ) -> Result<Dispatched, DispatchError<DispatchByName>> {
        let outcome = self.call(id, dispatch_by_name(name, payload)).await;
        let outcome = outcome.map_err(DispatchError::Call)?;
        outcome.map_err(|refused| DispatchError::Refused(*refused))
    }
}

fn find<R: Reducer>(setup: &Setup<R>, by_name: DispatchByName) -> Result<R::Action, Refused>
where
    R::Action: DeserializeOwned,
{
    let DispatchByName { name, payload } = by_name;
    let accepted = setup.by_name.iter().any(|pattern| matches(pattern, &name));
    // Only the hook needs it after this.
    let kept = setup.unknown.as_ref().map(|hook| (hook, payload.clone()));
    let found = if accepted {
        action_from_name(&name, payload)
    } else {
        Err(unknown(&name))
    };
    match (found, kept) {
        (Err(unknown @ Refused::UnknownAction { .. }), Some((hook, payload))) => hook(&name, &payload).ok_or(unknown),
        (found, _) => found,
    }
}

/// Whether `pattern` accepts `name`: the same, or `*` for all, or `cart.*` for all below `cart`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) if prefix.ends_with('.') => name.starts_with(prefix),
        _ => pattern == name,
    }
}

/// The action of this name. For those who take actions from the network themselves.
///
/// ```
/// # use session_process::redux::action_from_name;
/// #[derive(Debug, PartialEq, serde::Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Cart { AddItem { id: String }, Clear }
///
/// let action: Cart = action_from_name("add_item", serde_json::json!({ "id": "tea" }))?;
/// assert_eq!(action, Cart::AddItem { id: "tea".into() });
/// assert_eq!(action_from_name::<Cart>("clear", serde_json::Value::Null)?, Cart::Clear);
/// assert_eq!(action_from_name::<Cart>("steal", serde_json::Value::Null).unwrap_err().kind(), "unknown_action");
/// # Ok::<(), session_process::redux::Refused>(())
/// ```
///
/// # Errors
/// [`UnknownAction`](Refused::UnknownAction), [`BadPayload`](Refused::BadPayload).
pub fn action_from_name<A: DeserializeOwned>(name: &str, payload: Value) -> Result<A, Refused> {
    A::deserialize(Named { name, payload }).map_err(|error| match error {
        Lost::Unknown => unknown(name),
        Lost::Payload(source) => Refused::BadPayload {
            name: cut(name),
            source: Arc::new(source),
        },
    })
}

fn unknown(name: &str) -> Refused {
    Refused::UnknownAction { name: cut(name) }
}

/// No more of a name from the network than a line of a log can hold, and nothing that could begin another.
fn cut(name: &str) -> String {
    let clean = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut cut = String::new();
    for character in clean {
        if cut.len() + character.len_utf8() > 100 {
            break;
        }
        cut.push(character);
    }
    cut
}

/// A value whose variants are in a name, and whose innermost part is a payload.
struct Named<'a> {
    name: &'a str,
    payload: Value,
}

#[derive(Debug)]
enum Lost {
    Unknown,
    Payload(serde_json::Error),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown action"),
            Self::Payload(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Lost {}

impl de::Error for Lost {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::Payload(de::Error::custom(what))
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::Unknown
    }
}

impl<'de> Deserializer<'de> for Named<'_> {
    type Error = Lost;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Lost> {
        let (variant, rest) = match self.name.split_once('.') {
            Some((variant, rest)) => (variant, Some(rest)),
            None => (self.name, None),
        };
        if !variants.contains(&variant) {
            return Err(Lost::Unknown);
        }
        let payload = self.payload;
        visitor.visit_enum(Variant { variant, rest, payload })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Lost> {
        visitor.visit_newtype_struct(self)
    }

    /// Not an enum: it has no variants to be named by.
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Lost> {
        Err(Lost::Unknown)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant<'a> {
    variant: &'a str,
    rest: Option<&'a str>,
    payload: Value,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Lost;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Lost> {
        let variant = seed.deserialize(StrDeserializer::<Lost>::new(self.variant))?;
        Ok((variant, self))
    }
}

impl Variant<'_> {
    /// The payload, if the name ends here.
    fn payload(self) -> Result<Value, Lost> {
        if self.rest.is_some() {
            return Err(Lost::Unknown);
        }
        Ok(self.payload)
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Lost;

    fn unit_variant(self) -> Result<(), Lost> {
        match self.payload()? {
            Value::Null => Ok(()),
            Value::Object(fields) if fields.is_empty() => Ok(()),
            _ => Err(de::Error::custom("this action takes no payload")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Lost> {
        let payload = self.payload;
        match self.rest {
            Some(name) => seed.deserialize(Named { name, payload }),
            None => seed.deserialize(payload).map_err(Lost::Payload),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Lost> {
        self.payload()?.deserialize_tuple(len, visitor).map_err(Lost::Payload)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Lost> {
        let payload = self.payload()?;
        payload.deserialize_struct("", fields, visitor).map_err(Lost::Payload)
    }
}

/// Without the payload, which may be secret.
impl fmt::Debug for DispatchByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchByName")
            .field("name", &cut(&self.name))
            .finish_non_exhaustive()
    }
}
