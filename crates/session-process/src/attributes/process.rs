//! [`Attributes`] as a process: the one of a session whose type nobody named.
//!
//! A panic in the user's code (a closure, a `Serialize`, a `Deserialize`) is an error for its caller and ends nothing:
//! what it had changed is undone, so nothing is broken.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    AttributeError, Attributes, Limits,
    messages::{All, Clear, Get, Insert, Remove, Update},
};
use crate::{Context, Durability, Handle, Init, InitError, Process, Schema};

/// Durable, where the engine has [records](crate::Builder::records).
impl Process for Attributes {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("attributes", 1));
}

/// Without attributes.
///
/// The [`Limits`] are those that were given to [`Builder::extension`](crate::Builder::extension), if any were.
impl Init for Attributes {
    async fn init((): (), cx: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self::new(cx.now()))
    }
}

/// With these attributes, and their limits if they were given any.
impl Init<Attributes> for Attributes {
    async fn init(attributes: Attributes, _: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(attributes)
    }
}

impl Attributes {
    /// Of each message, before all else.
    fn come_to(&mut self, cx: &Context<Self>) {
        self.set_now(cx.now());
        // With the first message and not at the start: a snapshot has none either.
        self.limit(|| cx.extension::<Limits>().map(|limits| *limits).unwrap_or_default());
    }

    fn at_work<R>(
        &mut self,
        cx: &Context<Self>,
        work: impl FnOnce(&mut Self) -> Result<R, AttributeError>,
    ) -> Result<R, AttributeError> {
        self.come_to(cx);
        catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or(Err(AttributeError::Panicked))
    }
}

impl<T: DeserializeOwned + Send + 'static> Handle<Get<T>> for Attributes {
    type Reply = Result<Option<T>, AttributeError>;
    async fn handle(&mut self, get: Get<T>, cx: &mut Context<Self>) -> Self::Reply {
        cx.unchanged();
        self.at_work(cx, |this| this.get(&get.key))
    }
}

impl<T: Serialize + Send + 'static> Handle<Insert<T>> for Attributes {
    type Reply = Result<(), AttributeError>;
    async fn handle(&mut self, insert: Insert<T>, cx: &mut Context<Self>) -> Self::Reply {
        let Insert { key, value, after } = insert;
        self.at_work(cx, |this| match after {
            None => this.insert(&key, value),
            Some(after) => this.insert_expiring(&key, value, after),
        })
    }
}

impl<T: DeserializeOwned + Send + 'static> Handle<Remove<T>> for Attributes {
    type Reply = Result<Option<T>, AttributeError>;
    async fn handle(&mut self, remove: Remove<T>, cx: &mut Context<Self>) -> Self::Reply {
        self.at_work(cx, |this| this.remove(&remove.key))
    }
}

impl<F, R> Handle<Update<F>> for Attributes
where
    F: FnOnce(&mut Attributes) -> Result<R, AttributeError> + Send + 'static,
    R: Send + 'static,
{
    type Reply = Result<R, AttributeError>;
    async fn handle(&mut self, Update(change): Update<F>, cx: &mut Context<Self>) -> Self::Reply {
        self.at_work(cx, |this| this.all_or_nothing(change))
    }
}

impl Handle<Clear> for Attributes {
    type Reply = ();
    async fn handle(&mut self, _: Clear, cx: &mut Context<Self>) {
        self.come_to(cx);
        self.clear();
    }
}

impl Handle<All> for Attributes {
    type Reply = Attributes;
    async fn handle(&mut self, _: All, cx: &mut Context<Self>) -> Attributes {
        cx.unchanged();
        self.come_to(cx);
        self.clone()
    }
}
