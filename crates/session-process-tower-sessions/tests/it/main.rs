//! Their semantics, over our stores; and what ours add.

mod layer;
mod store;
