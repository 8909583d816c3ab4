//! The store as its users meet it. One file a concern; names are facts.
#![allow(clippy::print_stdout, reason = "what a long run found, and what a child has to say")]

mod conformance;
mod crash;
mod disk_full;
mod durable;
mod files;
mod group_commit;
mod million;
mod people;
mod permissions;
mod processes;
mod shutdown;
mod support;
