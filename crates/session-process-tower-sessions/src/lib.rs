#![doc = include_str!("../docs/lib.md")]

mod convert;
mod store;

pub use self::{convert::session_id, store::RecordStore};
