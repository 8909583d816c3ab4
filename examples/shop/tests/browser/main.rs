//! The shop in a real browser: Chromium, driven by WebDriver. `cargo xtask test` installs both where it may.
//!
//! Screenshots are kept under `target/tmp/screenshots`.

mod appearance;
mod driver;
mod ends;
mod network;
mod security;
mod shops;
mod tabs;
