//! [`Cart`]: the process behind a session.

use serde::Serialize;
use session_process::{Context, Handle, Process};

use crate::{
    catalogue::Item,
    directory::{Directory, Listing},
};

/// More is a mistake or an attack; and what is in the memory of a server has an end.
pub(crate) const MAX_ITEMS: usize = 99;

/// One visitor's cart, and who the visitor is.
#[derive(Debug, Default)]
pub struct Cart {
    items: Vec<&'static Item>,
    user: Option<String>,
    /// In the list of the user's sessions for as long as this process lives, however it ends.
    listing: Option<Listing>,
}

impl Process for Cart {}

/// What a cart shows.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct View {
    items: Vec<&'static str>,
    count: usize,
    total_cents: u64,
    user: Option<String>,
}

impl Cart {
    fn view(&self) -> View {
        View {
            items: self.items.iter().map(|item| item.id).collect(),
            count: self.items.len(),
            total_cents: self.items.iter().map(|item| item.cents).sum(),
            user: self.user.clone(),
        }
    }
}

pub(crate) struct Look;
impl Handle<Look> for Cart {
    type Reply = View;
    async fn handle(&mut self, _: Look, _: &mut Context<Self>) -> View {
        self.view()
    }
}

/// Replies `None` if the cart is full.
pub(crate) struct Add(pub(crate) &'static Item);
impl Handle<Add> for Cart {
    type Reply = Option<View>;
    async fn handle(&mut self, Add(item): Add, _: &mut Context<Self>) -> Option<View> {
        if self.items.len() >= MAX_ITEMS {
            return None;
        }
        self.items.push(item);
        Some(self.view())
    }
}

/// Replies `None` if it isn't there.
pub(crate) struct Remove(pub(crate) &'static Item);
impl Handle<Remove> for Cart {
    type Reply = Option<View>;
    async fn handle(&mut self, Remove(item): Remove, _: &mut Context<Self>) -> Option<View> {
        let last = self.items.iter().rposition(|other| other.id == item.id)?;
        self.items.remove(last);
        Some(self.view())
    }
}

pub(crate) struct WhoAmI;
impl Handle<WhoAmI> for Cart {
    type Reply = Option<String>;
    async fn handle(&mut self, _: WhoAmI, _: &mut Context<Self>) -> Option<String> {
        self.user.clone()
    }
}

pub(crate) struct SignIn {
    pub(crate) name: String,
    pub(crate) device: String,
}
impl Handle<SignIn> for Cart {
    type Reply = View;
    async fn handle(&mut self, SignIn { name, device }: SignIn, cx: &mut Context<Self>) -> View {
        // First out of the list under the former name, then in.
        self.listing = None;
        if let Some(directory) = cx.extension::<Directory>() {
            self.listing = Some(directory.list(&name, cx.session_id(), device));
        }
        self.user = Some(name);
        self.view()
    }
}
