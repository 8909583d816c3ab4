//! Attributes as the JSON text of one column, and back.
//!
//! Values are kept as they were given, byte for byte, but for white space around them. An attribute that names no
//! version has the one that its session was created with, which only the database knows beforehand.

use std::{borrow::Cow, collections::BTreeMap, io::Write as _, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;
use session_process::{
    Timestamp,
    store::{Attribute, AttributeMap, StoreError, Version},
};

/// Attributes as they are written: in the order of their names.
pub(crate) type Ordered = Vec<(Arc<str>, Attribute)>;

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    version: Option<u64>,
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

/// The text of attributes whose values have been checked. `Version(0)`: the one in the column `born`.
pub(crate) fn encode(attributes: &[(Arc<str>, Attribute)]) -> String {
    let bytes: usize = attributes
        .iter()
        .map(|(name, value)| name.len() + value.json.len() + 64)
        .sum();
    let mut text = Vec::with_capacity(bytes + 2);
    text.push(b'{');
    for (name, attribute) in attributes {
        if text.len() > 1 {
            text.push(b',');
        }
        // Writing to a Vec does not fail, and a text is always JSON.
        let _ = serde_json::to_writer(&mut text, &**name);
        text.extend_from_slice(br#":{"value":"#);
        text.extend_from_slice(attribute.json.trim_ascii().as_bytes());
        if attribute.version.0 > 0 {
            let _ = write!(text, r#","version":{}"#, attribute.version.0);
        }
        if let Some(at) = attribute.expires_at {
            let _ = write!(text, r#","expires_at":{}"#, at.as_micros());
        }
        text.push(b'}');
    }
    text.push(b'}');
    String::from_utf8(text).expect("all of its parts are UTF-8")
}

/// The attributes of a text.
pub(crate) fn decode(text: &str, born: Version) -> Result<AttributeMap, serde_json::Error> {
    if text == "{}" {
        return Ok(AttributeMap::new());
    }
    let stored: BTreeMap<Cow<'_, str>, Stored<'_>> = serde_json::from_str(text)?;
    let attribute = |stored: &Stored<'_>| Attribute {
        json: Arc::from(stored.value.get()),
        version: stored.version.map_or(born, Version),
        expires_at: stored.expires_at.map(Timestamp::from_micros),
    };
    Ok(stored
        .iter()
        .map(|(name, stored)| (Arc::from(&**name), attribute(stored)))
        .collect())
}

/// The earliest end of one of them.
pub(crate) fn first_end<'a>(attributes: impl IntoIterator<Item = &'a Attribute>) -> Timestamp {
    let ends = attributes.into_iter().filter_map(|attribute| attribute.expires_at);
    ends.min().unwrap_or(Timestamp::MAX)
}

/// New attributes with their versions: those that are as they were keep theirs, those that have expired are left out.
/// `old` finds what was there under a name.
pub(crate) fn stamped<'a>(
    old: impl Fn(&str) -> Option<&'a Attribute>,
    new: &AttributeMap,
    version: Version,
    now: Timestamp,
) -> Ordered {
    let live = new.iter().filter(|(_, attribute)| !attribute.is_expired(now));
    live.map(|(name, attribute)| {
        let mut attribute = attribute.clone();
        let unchanged = old(name).filter(|old| same(old, &attribute));
        attribute.version = unchanged.map_or(version, |old| old.version);
        (name.clone(), attribute)
    })
    .collect()
}

/// The same value, whatever white space is around it.
fn same(a: &Attribute, b: &Attribute) -> bool {
    a.json.trim_ascii() == b.json.trim_ascii() && a.expires_at == b.expires_at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let attribute = |json: &str, version, at: Option<i64>| Attribute {
            json: Arc::from(json),
            version: Version(version),
            expires_at: at.map(Timestamp::from_micros),
        };
        let mut before = AttributeMap::from([
            (Arc::from(""), attribute("null", 7, None)),
            (
                Arc::from("a \"b\" \\ 100%\n\u{1F980}\0"),
                attribute(r#"{"b": 1,  "a": [1.0, 1e3]}"#, 8, Some(-5)),
            ),
            (
                Arc::from("text"),
                attribute(r#""\u0000 ' %s ,\"expires_at\":1""#, 0, Some(i64::MAX)),
            ),
        ]);
        check(&before).unwrap();
        assert_eq!(first_end(before.values()), Timestamp::from_micros(-5));
        let ordered: Ordered = before.clone().into_iter().collect();
        let text = encode(&ordered);
        before.get_mut("text").unwrap().version = Version(3);
        assert_eq!(decode(&text, Version(3)).unwrap(), before);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for json in ["", "{", "1 2", "nul", r#""a"#, r#"1},"x":{"value":2"#] {
            let attribute = Attribute {
                json: Arc::from(json),
                version: Version(0),
                expires_at: None,
            };
            assert!(
                check(&AttributeMap::from([(Arc::from("a"), attribute)])).is_err(),
                "{json}"
            );
        }
    }
}
