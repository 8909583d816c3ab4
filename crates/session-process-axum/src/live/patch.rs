//! RFC 7396: the merge patch from one JSON to another.

use serde_json::{Map, Value};

/// What makes `new` of `old`, or `None` where a merge patch can't say it: a `null` in it means "remove".
pub(super) fn diff(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for key in old.keys().filter(|key| !new.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, new) in new {
                match old.get(key) {
                    Some(old) if old == new => {}
                    Some(old) => drop(patch.insert(key.clone(), diff(old, new)?)),
                    None => drop(patch.insert(key.clone(), whole(new)?)),
                }
            }
            Some(Value::Object(patch))
        }
        (_, new) => whole(new),
    }
}

/// `new` in a place where something else was, or nothing.
fn whole(new: &Value) -> Option<Value> {
    fn has_null(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Object(map) => map.values().any(has_null),
            // Arrays are replaced as they are.
            _ => false,
        }
    }
    (!has_null(new)).then(|| new.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..5i64).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_makes_the_new_of_the_old(old in json(), new in json()) {
            if let Some(patch) = diff(&old, &new) {
                let mut patched = old;
                json_patch::merge(&mut patched, &patch);
                prop_assert_eq!(patched, new);
            }
        }
    }

    #[test]
    fn a_null_that_is_a_value_is_not_patched() {
        let old: Value = serde_json::json!({"a": 1, "b": [null]});
        assert_eq!(diff(&old, &serde_json::json!({"a": null, "b": [null]})), None);
        assert_eq!(
            diff(&old, &serde_json::json!({"a": 2, "b": [null]})),
            Some(serde_json::json!({"a": 2}))
        );
    }
}
