//! The shop: as a router, and as the program that a newcomer runs.

mod api;
mod page;
mod program;
mod state;
mod support;
