//! Attributes as the JSON text of one column, and back.
//!
//! Values are kept as they were given, byte for byte, but for white space around them.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;
use session_process::{
    Timestamp,
    store::{Attribute, AttributeMap, StoreError, Version},
};

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    version: u64,
    expires_at: Option<i64>,
}

/// An error if a value is not JSON: it would make the whole column unreadable.
pub(crate) fn check(attributes: &AttributeMap) -> Result<(), StoreError> {
    attributes.values().try_for_each(|attribute| {
        serde_json::from_str::<&RawValue>(&attribute.json)
            .map(drop)
            .map_err(|error| StoreError::failed("an attribute's value is not JSON", error))
    })
}

/// The text of attributes whose values have been checked.
pub(crate) fn encode(attributes: &AttributeMap) -> String {
    let bytes: usize = attributes
        .iter()
        .map(|(name, value)| name.len() + value.json.len() + 64)
        .sum();
    let mut text = String::with_capacity(bytes + 2);
    text.push('{');
    for (name, attribute) in attributes {
        if text.len() > 1 {
            text.push(',');
        }
        // Writing to a String does not fail, and a text is always JSON.
        text.push_str(&serde_json::to_string(&**name).unwrap_or_default());
        text.push_str(r#":{"value":"#);
        text.push_str(attribute.json.trim_ascii());
        let _ = write!(text, r#","version":{}"#, attribute.version.0);
        if let Some(at) = attribute.expires_at {
            let _ = write!(text, r#","expires_at":{}"#, at.as_micros());
        }
        text.push('}');
    }
    text.push('}');
    text
}

/// The attributes of a text.
pub(crate) fn decode(text: &str) -> Result<AttributeMap, serde_json::Error> {
    if text == "{}" {
        return Ok(AttributeMap::new());
    }
    let stored: BTreeMap<Cow<'_, str>, Stored<'_>> = serde_json::from_str(text)?;
    let attribute = |stored: &Stored<'_>| Attribute {
        json: Arc::from(stored.value.get()),
        version: Version(stored.version),
        expires_at: stored.expires_at.map(Timestamp::from_micros),
    };
    Ok(stored
        .iter()
        .map(|(name, stored)| (Arc::from(&**name), attribute(stored)))
        .collect())
}

/// Whether one of them may expire: without reading the text as JSON. May be wrong in the harmless direction.
pub(crate) fn may_expire(text: &str) -> bool {
    text.contains(r#","expires_at":"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str, Option<i64>)]) -> AttributeMap {
        pairs
            .iter()
            .map(|(name, json, at)| {
                let attribute = Attribute {
                    json: Arc::from(*json),
                    version: Version(7),
                    expires_at: at.map(Timestamp::from_micros),
                };
                (Arc::from(*name), attribute)
            })
            .collect()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let before = attributes(&[
            ("", "null", None),
            (
                "a \"quoted\" \\ 100% name\n\u{1F980}\0",
                r#"{"b": 1,  "a": [1.0, 1e3]}"#,
                Some(-5),
            ),
            ("number", "123456789012345678901234567890.10", Some(i64::MAX)),
            ("text", r#""\u0000 \ud83e\udd80 ' %s ,\"expires_at\":1""#, None),
        ]);
        check(&before).unwrap();
        assert_eq!(decode(&encode(&before)).unwrap(), before);
        assert_eq!(decode(&encode(&AttributeMap::new())).unwrap(), AttributeMap::new());
    }

    #[test]
    fn deep_values_are_kept_like_others() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let before = attributes(&[("deep", &deep, None)]);
        check(&before).unwrap();
        assert_eq!(decode(&encode(&before)).unwrap(), before);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for json in ["", "{", "1 2", "nul", r#""a"#, r#"1},"x":{"value":2"#] {
            assert!(check(&attributes(&[("a", json, None)])).is_err(), "{json}");
        }
    }
}
