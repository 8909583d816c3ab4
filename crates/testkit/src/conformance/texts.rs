//! Texts that are not what one thinks of first.

use session_process::store::{Create, Edit, Owner, OwnerText};

use super::{
    StoreUnderTest,
    fixture::{attribute, attributes, created, done, edit, keys_of, of, owner, there, user},
};

/// Each is another than the rest, by its bytes.
const TEXTS: &[&str] = &[
    "ada",
    "Ada",
    "ada ",
    " ada",
    "ADA",
    "'",
    "''",
    "\"",
    "\\",
    "\\'",
    "a%",
    "%",
    "_",
    "*",
    "?1",
    "$1",
    ":a",
    "NULL",
    "null",
    "0",
    "00",
    "1e3",
    "1000",
    "é",
    "e\u{301}",
    "\u{1F980}",
    "\u{FEFF}x",
    "\u{202E}x",
    "\n",
    "\t",
    "\r\n",
    "\u{1}",
    "\u{7f}",
    "{}",
    "[1]",
    "{a,b}",
    "'; DROP TABLE session; --",
    "x'00'",
    "a/b@c.example",
    "ß",
    "SS",
    "ｆｕｌｌ",
];

pub async fn owners_and_labels_of_any_text_are_told_apart(under: impl StoreUnderTest) {
    let store = under.store();
    let mut sessions = Vec::new();
    for text in TEXTS {
        let new = Create {
            group_id: Some(owner(text)),
            label: Some(owner(text)),
            ..of(text)
        };
        sessions.push(created(&store, new).await);
    }
    for (text, key) in TEXTS.iter().zip(sessions) {
        assert_eq!(keys_of(&store, user(text)).await, [key], "{text:?}");
        assert_eq!(keys_of(&store, Owner::Group(owner(text))).await, [key], "{text:?}");
        let record = there(&store, key).await;
        assert_eq!(record.label, Some(owner(text)));
        assert_eq!(record.user_id, Some(owner(text)));
    }
}

pub async fn names_of_attributes_of_any_text_are_told_apart(under: impl StoreUnderTest) {
    let store = under.store();
    let mut map = attributes(&[]);
    for (n, text) in TEXTS
        .iter()
        .chain(&["", "a.b", "$.a", "a[0]", "value", "version"])
        .enumerate()
    {
        map.insert((*text).into(), attribute(&n.to_string()));
    }
    let key = created(
        &store,
        Create {
            attributes: map.clone(),
            ..Create::default()
        },
    )
    .await;
    for _ in 0..2 {
        let record = there(&store, key).await;
        assert_eq!(record.attributes.len(), map.len());
        for (name, given) in &map {
            assert_eq!(record.attributes[name].json, given.json, "{name:?}");
        }
        done(
            &store,
            key,
            edit(Edit {
                attributes: Some(record.attributes),
                ..Edit::default()
            }),
        )
        .await;
    }
}

pub async fn the_longest_owner_is_kept(under: impl StoreUnderTest) {
    let store = under.store();
    let long = |last: char| "\u{1F980}".repeat(63) + &last.to_string().repeat(3);
    assert_eq!(long('a').len(), OwnerText::MAX_LEN);
    let (a, b) = (
        created(&store, of(&long('a'))).await,
        created(&store, of(&long('b'))).await,
    );
    assert_eq!(keys_of(&store, user(&long('a'))).await, [a]);
    assert_eq!(keys_of(&store, user(&long('b'))).await, [b]);
}

pub async fn patterns_match_nothing_but_themselves(under: impl StoreUnderTest) {
    let store = under.store();
    created(&store, of("ada")).await;
    for pattern in ["%", "_da", "a*", "ad?", ".*", "ADA", "ada\u{200B}"] {
        assert_eq!(keys_of(&store, user(pattern)).await, [], "{pattern:?}");
        assert_eq!(keys_of(&store, Owner::Group(owner(pattern))).await, [], "{pattern:?}");
    }
}
