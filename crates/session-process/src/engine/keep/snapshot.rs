//! A process as a snapshot, and back.

use crate::{LoadError, SaveError, durability::Schema, engine::guard::caught, store::Snapshot};

pub(super) fn write<P>(schema: &Schema<P>, process: &P) -> Result<Snapshot, SaveError> {
    let bytes = caught(|| (schema.write)(process)).map_err(SaveError::Schema)?;
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
    let state = caught(|| match snapshot.schema {
        version if version == schema.version => (schema.read)(&snapshot.bytes),
        version => (schema.upgrade)(version, &snapshot.bytes),
    });
    let unreadable = |error: String| LoadError::Unreadable {
        kind: snapshot.kind.to_string(),
        version: snapshot.schema,
        error,
    };
    let state = state.map_err(unreadable)?;
    state.map_err(|error| unreadable(error.to_string()))
}
