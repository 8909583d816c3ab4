//! A process as a snapshot, and back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::guard::panic_text;
use crate::{LoadError, SaveError, durability::Schema, store::Snapshot};

pub(super) fn write<P>(schema: &Schema<P>, process: &P) -> Result<Snapshot, SaveError> {
    let bytes = catch_unwind(AssertUnwindSafe(|| (schema.write)(process)));
    let bytes = bytes.map_err(|panic| SaveError::Schema(panic_text(panic)))?;
    let bytes = bytes.map_err(|error| SaveError::Schema(error.to_string()))?;
    Ok(Snapshot {
        kind: schema.kind.into(),
        schema: schema.version,
        bytes: bytes.into(),
    })
}

pub(super) fn read<P>(schema: &Schema<P>, snapshot: &Snapshot) -> Result<P, LoadError> {
    if *snapshot.kind != *schema.kind {
        return Err(LoadError::Kind {
            expected: schema.kind,
            found: snapshot.kind.to_string(),
        });
    }
    let state = catch_unwind(AssertUnwindSafe(|| match snapshot.schema {
        version if version == schema.version => (schema.read)(&snapshot.bytes),
        version => (schema.upgrade)(version, &snapshot.bytes),
    }));
    let unreadable = |error: String| LoadError::Unreadable {
        kind: snapshot.kind.to_string(),
        version: snapshot.schema,
        error,
    };
    let state = state.map_err(|panic| unreadable(panic_text(panic)))?;
    state.map_err(|error| unreadable(error.to_string()))
}
