//! [`Cart`]: a slice of the [`Visitor`](crate::visitor::Visitor), with its actions.

use serde::{Deserialize, Serialize};
use session_process::redux::Reducer;

use crate::catalogue;

/// More is a mistake or an attack; and what is in the memory of a server has an end.
pub(crate) const MAX_ITEMS: usize = 99;

/// What is in a cart, by the ids of the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    pub(crate) items: Vec<String>,
}

/// What can happen to a cart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CartAction {
    /// One more of this.
    Add(String),
    /// One less of this.
    Remove(String),
}

impl Reducer for Cart {
    type Action = CartAction;

    fn reduce(&mut self, action: &CartAction) {
        match action {
            CartAction::Add(item) => self.items.push(item.clone()),
            CartAction::Remove(item) => {
                if let Some(last) = self.items.iter().rposition(|other| other == item) {
                    self.items.remove(last);
                }
            }
        }
    }
}

/// Why an action is not for this cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    Unknown,
    Full,
    NotThere,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "we don't sell that",
            Self::Full => "no more fits into the cart",
            Self::NotThere => "that is not in the cart",
        })
    }
}

impl std::error::Error for Unfit {}

impl Cart {
    pub(crate) fn check(&self, action: &CartAction) -> Result<(), Unfit> {
        match action {
            CartAction::Add(item) if catalogue::find(item).is_none() => Err(Unfit::Unknown),
            CartAction::Add(_) if self.items.len() >= MAX_ITEMS => Err(Unfit::Full),
            CartAction::Remove(item) if !self.items.contains(item) => Err(Unfit::NotThere),
            _ => Ok(()),
        }
    }

    pub(crate) fn total_cents(&self) -> u64 {
        let items = self.items.iter().filter_map(|item| catalogue::find(item));
        items.map(|item| item.cents).sum()
    }
}
