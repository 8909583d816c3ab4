//! Values to JSON text and back, within a limit and without repeating a value in an error.

use std::{any::type_name, io, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::AttributeError;

pub(crate) fn read<T: DeserializeOwned>(key: &str, json: &str) -> Result<T, AttributeError> {
    serde_json::from_str(json).map_err(|error| AttributeError::WrongType {
        key: Arc::from(key),
        expected: type_name::<T>(),
        found: kind(json),
        // serde's own words are not for us: they repeat the value.
        column: error.column(),
    })
}

pub(super) fn write<T: Serialize>(key: &str, value: &T, max: usize) -> Result<Arc<str>, AttributeError> {
    let mut text = Bounded { bytes: Vec::new(), max };
    match serde_json::to_writer(&mut text, value) {
        Ok(()) => {
            let text = String::from_utf8(text.bytes).expect("serde_json writes UTF-8");
            Ok(Arc::from(text))
        }
        Err(error) if error.is_io() => Err(AttributeError::ValueTooLong {
            key: Arc::from(key),
            max,
        }),
        Err(error) => Err(AttributeError::Unserializable {
            key: Arc::from(key),
            source: Arc::new(error),
        }),
    }
}

/// Refuses what is too long before it is all in memory.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.max - self.bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn kind(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "text",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "no JSON",
    }
}
