//! Stores: acknowledged saves.

mod baseline;
mod saves;

pub use saves::SqliteSave;
