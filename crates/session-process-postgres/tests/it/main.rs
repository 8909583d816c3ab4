//! The store as its users meet it. One file a concern; names are facts.

mod conformance;
mod faults;
mod nodes;
mod schema;
mod support;
