//! What every store must do.

testkit::store_conformance!(crate::support::fresh);
testkit::lock_conformance!(crate::support::fresh);
