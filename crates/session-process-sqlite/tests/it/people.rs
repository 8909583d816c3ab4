//! The file as its owner reads it.

use rusqlite::{Connection, types::Value};
use session_process::{
    SessionId,
    store::{Attribute, Create, SessionKey, Snapshot, Version},
};

use crate::support::{apply, create, fresh, owner};

#[tokio::test]
async fn a_person_can_read_the_file_and_finds_no_id_in_it() {
    let fresh = fresh().await;
    let id = SessionId::generate();
    let key = SessionKey::of(&id);
    let attribute = |json: &str| Attribute {
        json: json.into(),
        version: Version(0),
        expires_at: None,
    };
    let new = Create {
        user_id: Some(owner("ada")),
        label: Some(owner("Firefox on Linux")),
        attributes: [
            ("cart".into(), attribute(r#"["tea"]"#)),
            ("theme".into(), attribute(r#""dark""#)),
        ]
        .into(),
        snapshot: Some(Snapshot {
            kind: "cart".into(),
            schema: 1,
            bytes: b"state".as_slice().into(),
        }),
        ..Create::default()
    };
    apply(&fresh.store, key, create(new)).await.unwrap();

    let file = Connection::open(fresh.path()).unwrap();
    let text = |sql: &str| file.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        text("SELECT handle FROM sessions WHERE user_id = 'ada'"),
        format!("{key:?}")
    );
    assert_eq!(text("SELECT ends FROM sessions"), "never");
    assert_eq!(
        text("SELECT strftime('%Y', created) FROM sessions"),
        text("SELECT strftime('%Y', 'now')")
    );
    assert_eq!(
        text("SELECT value FROM session_attributes WHERE name = 'theme'"),
        "dark"
    );
    assert_eq!(text("SELECT attributes ->> '$.cart.value[0]' FROM session"), "tea");
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT expired FROM sessions"), 0);
    let ends = |at: &str| {
        file.execute(&format!("UPDATE session SET ends_at = {at}, sweep_at = 0"), [])
            .unwrap()
    };
    ends("(unixepoch() - 10) * 1000000");
    assert_eq!(number("SELECT expired FROM sessions"), 1);
    ends("(unixepoch() + 10) * 1000000");
    assert_eq!(number("SELECT expired FROM sessions"), 0);
    // Debian 12's shell, for one, has never heard of it.
    assert_eq!(
        number("SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%subsec%'"),
        0
    );
    assert_eq!(number("SELECT snapshot_bytes FROM sessions"), 5);

    let mut statement = file.prepare("SELECT * FROM session").unwrap();
    let columns = statement.column_count();
    let mut rows = statement.query([]).unwrap();
    let row = rows.next().unwrap().unwrap();
    for column in 0..columns {
        let value = format!("{:?}", row.get::<_, Value>(column).unwrap());
        assert!(!value.contains(id.expose()));
    }
    fresh.store.shutdown().await;
    let bytes = std::fs::read(fresh.path()).unwrap();
    assert!(
        !bytes
            .windows(id.expose().len())
            .any(|window| window == id.expose().as_bytes())
    );
}

#[tokio::test]
async fn the_searches_of_the_store_use_its_indices() {
    let fresh = fresh().await;
    let file = Connection::open(fresh.path()).unwrap();
    for (sql, index) in [
        (
            "SELECT * FROM session WHERE key = ?1 AND ends_at > ?2",
            "sqlite_autoindex_session_1 (key=?)",
        ),
        (
            "SELECT key FROM session WHERE user_id = ?4 AND key > ?1 AND ends_at > ?2 ORDER BY key LIMIT ?3",
            "session_by_user (user_id=? AND key>?)",
        ),
        (
            "SELECT key FROM session WHERE group_id = ?4 AND key > ?1 AND ends_at > ?2 ORDER BY key LIMIT ?3",
            "session_by_group (group_id=? AND key>?)",
        ),
        (
            "SELECT id FROM session WHERE sweep_at <= ?1 AND sweep_at < 9223372036854775807 ORDER BY sweep_at LIMIT 9",
            "session_by_sweep (sweep_at<?)",
        ),
    ] {
        let mut plan = file.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let values = vec![Value::Null; plan.parameter_count()];
        let steps: Vec<String> = plan
            .query_map(rusqlite::params_from_iter(values), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(steps.len(), 1, "{steps:?}: no step of its own for the order");
        assert!(steps[0].contains(index), "{steps:?}");
    }
}
