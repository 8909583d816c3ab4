//! The shop: as a router, and as the program that a newcomer runs.

mod api;
#[cfg(unix)]
mod cluster;
#[cfg(unix)]
mod nodes;
mod page;
mod program;
mod running;
mod state;
mod support;
