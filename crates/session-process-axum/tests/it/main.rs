//! The layer and its extractors, driven as a service.

mod any_service;
mod cookie;
mod durable;
mod errors;
mod extract;
mod hardening;
mod leaks;
mod lifecycle;
#[cfg(feature = "live")]
mod live;
mod login;
mod peers;
mod security;
mod support;
