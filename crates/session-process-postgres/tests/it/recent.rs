//! What is known of a record spares a look at it, and never makes a difference otherwise.

use session_process::store::{
    Attribute, AttributeMap, Change, Conflict, Create, Edit, Expect, Op, SessionKey, SessionStore, Version,
};
use session_process_postgres::{Builder, PostgresStore};

use crate::support::{Fresh, apply, change, fresh};

fn attributes(pairs: &[(&str, u32)]) -> AttributeMap {
    let attribute = |(name, value): &(&str, u32)| {
        let attribute = Attribute {
            json: value.to_string().into(),
            version: Version(0),
            expires_at: None,
        };
        ((*name).into(), attribute)
    };
    pairs.iter().map(attribute).collect()
}

fn save(key: SessionKey, version: impl Into<Option<Version>>, pairs: &[(&str, u32)]) -> Change {
    let edit = Edit {
        attributes: Some(attributes(pairs)),
        ..Edit::default()
    };
    Change {
        key,
        expect: Expect {
            version: version.into(),
            epoch: None,
        },
        op: Op::Edit(Box::new(edit)),
    }
}

async fn create(store: &PostgresStore, key: SessionKey, pairs: &[(&str, u32)]) -> Version {
    let new = Create {
        attributes: attributes(pairs),
        ..Create::default()
    };
    let created = apply(store, change(key, Op::Create(Box::new(new)))).await;
    created.expect("a free key").version
}

/// Name, value, version.
async fn read(store: &PostgresStore, key: SessionKey) -> Vec<(String, String, Version)> {
    let record = store.load(&[key]).await.unwrap().remove(0).expect("it is there");
    let attributes = record.attributes.iter();
    attributes
        .map(|(name, attribute)| (name.to_string(), attribute.json.to_string(), attribute.version))
        .collect()
}

/// How often the table was searched by its primary key, once all connections have said so.
async fn looks(fresh: &Fresh, store: PostgresStore) -> i64 {
    store.shutdown().await;
    let client = fresh.database.connect().await;
    // A backend reports what it did when it ends.
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                  AND application_name = 'under test'";
    while client.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let sql = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'session_pkey'";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn under_test(fresh: &Fresh, recent_bytes: usize) -> PostgresStore {
    let mut config = fresh.database.config();
    config.application_name("under test");
    Builder::from_config(config)
        .recent_bytes(recent_bytes)
        .open()
        .await
        .unwrap()
}

/// Saves of a session that was read and of one that was written; and how often the table was searched for that.
async fn saves(fresh: &Fresh, recent_bytes: usize, count: u32) -> i64 {
    let store = under_test(fresh, recent_bytes).await;
    let (read, written) = (SessionKey::from_bytes([1; 32]), SessionKey::from_bytes([2; 32]));
    let read_version = create(&store, read, &[("a", 1)]).await;
    let before = looks(fresh, store).await;
    let store = under_test(fresh, recent_bytes).await;
    let written_version = create(&store, written, &[("a", 1)]).await;
    assert!(store.load(&[read]).await.unwrap()[0].is_some());
    for (key, mut version) in [(read, read_version), (written, written_version)] {
        for n in 0..count {
            version = apply(&store, save(key, version, &[("a", n)])).await.unwrap().version;
        }
    }
    let client = fresh.database.connect().await;
    let after = looks(fresh, store).await;
    client
        .batch_execute("DELETE FROM session_process.session")
        .await
        .unwrap();
    after - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_of_what_was_written_or_read_a_short_while_ago_does_not_read_the_row() {
    const SAVES: u32 = 20;
    let fresh = fresh().await;
    let (with, without) = (saves(&fresh, 1 << 20, SAVES).await, saves(&fresh, 0, SAVES).await);
    // The one that each save can't do without is that of its own statement.
    assert_eq!(
        without - with,
        i64::from(2 * SAVES),
        "{with} searches, and {without} without what is known"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_did_meanwhile_is_found_out() {
    let fresh = fresh().await;
    let other = fresh.node().await;
    let key = SessionKey::from_bytes([1; 32]);
    let first = create(&fresh.store, key, &[("a", 1), ("b", 1)]).await;
    let second = apply(&other, save(key, first, &[("a", 1), ("b", 2)]))
        .await
        .unwrap()
        .version;
    // What this node knows is of the first version.
    let refused = apply(&fresh.store, save(key, first, &[("a", 3)])).await.unwrap_err();
    let Conflict::Version {
        version,
        record: Some(record),
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((version, record.version), (second, second));
    // The last writer wins, whatever is known; what is as it was keeps the version that it got on the other node.
    let third = apply(&fresh.store, save(key, None, &[("a", 9), ("b", 2)]))
        .await
        .unwrap()
        .version;
    let expected = [
        ("a".to_owned(), "9".to_owned(), third),
        ("b".to_owned(), "2".to_owned(), second),
    ];
    assert_eq!(read(&fresh.store, key).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_has_the_version_of_its_record_also_where_a_new_range_begins() {
    let fresh = fresh().await;
    let client = fresh.database.connect().await;
    for recent_bytes in [0, 1 << 20] {
        let store = under_test(&fresh, recent_bytes).await;
        let key = SessionKey::from_bytes([u8::try_from(recent_bytes % 251).unwrap(); 32]);
        let created = create(&store, key, &[("kept", 1), ("changed", 1)]).await;
        // As if it had been changed 65,533 times.
        let late = (created.0 | 0xFFFF) - 2;
        let sql = "UPDATE session_process.session SET version = $1 WHERE key = $2";
        client
            .execute(sql, &[&late.cast_signed(), &&key.as_bytes()[..]])
            .await
            .unwrap();
        let mut version = Version(late);
        let mut ranges = std::collections::BTreeSet::new();
        for n in 2..7 {
            let next = apply(&store, save(key, version, &[("kept", 1), ("changed", n)]))
                .await
                .unwrap()
                .version;
            assert!(next > version);
            version = next;
            ranges.insert(version.0 >> 16);
            let expected = [
                ("changed".to_owned(), n.to_string(), version),
                ("kept".to_owned(), "1".to_owned(), created),
            ];
            assert_eq!(read(&store, key).await, expected);
        }
        assert_eq!(ranges.len(), 2, "a range was begun");
        // An edit that leaves the attributes alone, at the same place.
        let late = (version.0 | 0xFFFF).cast_signed();
        client.execute(sql, &[&late, &&key.as_bytes()[..]]).await.unwrap();
        let before = read(&store, key).await;
        let label = Edit {
            label: Some(None),
            ..Edit::default()
        };
        let edit = Change {
            key,
            expect: Expect {
                version: Some(Version(late.cast_unsigned())),
                epoch: None,
            },
            op: Op::Edit(Box::new(label)),
        };
        let edited = apply(&store, edit).await.unwrap().version;
        assert_eq!(edited.0 % 65_536, 0);
        assert_eq!(read(&store, key).await, before);
    }
}
