//! Attributes: named values in JSON, with versions and an expiry of their own.

use std::sync::Arc;

use session_process::store::{Attribute, Create, Edit, Version};

use super::{
    StoreUnderTest,
    fixture::{MINUTE, attribute, attributes, create, created, done, edit, key, labelled, there, with_attributes},
};

pub async fn those_that_differ_get_the_records_version_and_the_others_keep_theirs(under: impl StoreUnderTest) {
    let store = under.store();
    let key = key();
    let new = Create {
        attributes: attributes(&[("a", "1"), ("b", "2"), ("c", "3")]),
        ..Create::default()
    };
    let first = done(&store, key, create(new)).await.version;
    let mut map = there(&store, key).await.attributes;
    map.get_mut("b").expect("there").json = "20".into();
    map.get_mut("c").expect("there").expires_at = Some(store.now().saturating_add(MINUTE));
    map.insert("d".into(), attribute("4"));
    let second = done(
        &store,
        key,
        edit(Edit {
            attributes: Some(map),
            ..Edit::default()
        }),
    )
    .await
    .version;
    let record = there(&store, key).await;
    let versions: Vec<(&str, Version)> = record.attributes.iter().map(|(name, a)| (&**name, a.version)).collect();
    assert_eq!(versions, [("a", first), ("b", second), ("c", second), ("d", second)]);
    // One that is taken out and put in again was set again.
    let without = done(&store, key, edit(with_attributes(&[("b", "20")]))).await.version;
    assert_eq!(there(&store, key).await.attributes["b"].version, second);
    let again = done(&store, key, edit(with_attributes(&[("a", "1"), ("b", "20")])))
        .await
        .version;
    assert!(again > without);
    assert_eq!(there(&store, key).await.attributes["a"].version, again);
}

pub async fn new_attributes_replace_all_that_were_there(under: impl StoreUnderTest) {
    let store = under.store();
    let new = Create {
        attributes: attributes(&[("a", "1"), ("b", "2")]),
        ..Create::default()
    };
    let key = created(&store, new).await;
    done(&store, key, edit(with_attributes(&[("c", "3")]))).await;
    let record = there(&store, key).await;
    assert_eq!(record.attributes.keys().map(|name| &**name).collect::<Vec<_>>(), ["c"]);
    done(&store, key, edit(with_attributes(&[]))).await;
    assert!(there(&store, key).await.attributes.is_empty());
}

pub async fn other_edits_leave_attributes_alone(under: impl StoreUnderTest) {
    let store = under.store();
    let new = Create {
        attributes: attributes(&[("a", "1"), ("b", "2")]),
        ..Create::default()
    };
    let key = created(&store, new).await;
    let before = there(&store, key).await.attributes;
    done(&store, key, edit(labelled("x"))).await;
    assert_eq!(there(&store, key).await.attributes, before);
}

pub async fn a_value_is_kept_byte_for_byte(under: impl StoreUnderTest) {
    let store = under.store();
    let values = [
        ("null", "null"),
        ("order", r#"{"b":1,"a":2,"b":3}"#),
        ("space", "{\n  \"a\" : [ 1 ,2 ]\t}"),
        ("number", "123456789012345678901234567890.1000e-7"),
        ("escaped", r#""\u0000\u00e9\/\ud83e\udd80""#),
        ("plain", "\"\u{1F980} \u{202E} é ' % _ \\\\ \""),
        ("empty", r#""""#),
    ];
    let key = created(
        &store,
        Create {
            attributes: attributes(&values),
            ..Create::default()
        },
    )
    .await;
    let record = there(&store, key).await;
    for (name, json) in values {
        assert_eq!(&*record.attributes[name].json, json, "{name}");
    }
}

pub async fn an_expired_attribute_goes_with_the_next_change(under: impl StoreUnderTest) {
    let store = under.store();
    let key = created(
        &store,
        Create {
            attributes: attributes(&[("kept", "1")]),
            ..Create::default()
        },
    )
    .await;
    let mut map = there(&store, key).await.attributes;
    let soon = Attribute {
        expires_at: Some(store.now().saturating_add(MINUTE)),
        ..attribute("2")
    };
    map.insert(Arc::from("brief"), soon);
    done(
        &store,
        key,
        edit(Edit {
            attributes: Some(map.clone()),
            ..Edit::default()
        }),
    )
    .await;
    under.advance(MINUTE);
    if let Some(brief) = there(&store, key).await.attributes.get("brief") {
        assert!(brief.is_expired(store.now()), "whoever reads it sees that it is over");
    }
    let before = there(&store, key).await.attributes["kept"].version;
    done(&store, key, edit(labelled("a change of something else"))).await;
    let record = there(&store, key).await;
    assert_eq!(
        record.attributes.keys().map(|name| &**name).collect::<Vec<_>>(),
        ["kept"]
    );
    assert_eq!(record.attributes["kept"].version, before);
    // Neither does one come in that is over.
    done(
        &store,
        key,
        edit(Edit {
            attributes: Some(map),
            ..Edit::default()
        }),
    )
    .await;
    assert!(!there(&store, key).await.attributes.contains_key("brief"));
}

pub async fn a_large_attribute_and_many_are_kept(under: impl StoreUnderTest) {
    let store = under.store();
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let mut map = attributes(&[("large", &large)]);
    for n in 0..500 {
        map.insert(format!("name {n}").into(), attribute(&n.to_string()));
    }
    let key = created(
        &store,
        Create {
            attributes: map,
            ..Create::default()
        },
    )
    .await;
    let record = there(&store, key).await;
    assert_eq!(record.attributes.len(), 501);
    assert_eq!(&*record.attributes["large"].json, large);
    assert_eq!(&*record.attributes["name 499"].json, "499");
}
