//! The store as its users meet it. One file a concern; names are facts.

mod away;
mod clocks;
mod conformance;
mod crash;
mod failures;
mod faults;
mod gopgsession;
mod groups;
mod health;
mod locks;
mod logs;
mod network;
mod nodes;
mod parity;
mod polling;
mod pool;
mod pooler;
mod readers;
mod recent;
mod schema;
mod support;
mod tls;
mod totals;
mod tower_sessions;
mod traffic;
