//! Names, migrations, permissions; and that an update touches no index.

use std::time::Duration;

use session_process::store::{Change, Edit, Expect, Op, Owner, SessionKey, SessionStore, StoreError, Version};
use session_process_postgres::{Builder, Coherence, OpenError, PostgresStore};
use testkit::postgres::{Database, Disk, Server};

use crate::support::{apply, change, fresh};

fn key(n: u8) -> SessionKey {
    SessionKey::from_bytes([n; 32])
}

async fn works(store: &PostgresStore) {
    let key = key(1);
    apply(store, change(key, Op::Create(Box::default()))).await.unwrap();
    apply(store, change(key, Op::Edit(Box::default()))).await.unwrap();
    apply(store, change(key, Op::Rotate(SessionKey::from_bytes([2; 32]))))
        .await
        .unwrap();
    assert_eq!(store.list(&Owner::Everyone, None, 10).await.unwrap().len(), 1);
    store.delete_expired(10).await.unwrap();
}

/// gopgsession: "prefix with a quote; prefix of 60 characters": SQL error; misleading "column does not exist".
#[tokio::test(flavor = "multi_thread")]
async fn any_names_will_do_and_those_that_are_too_long_are_refused() {
    let server = Server::shared().await;
    let (database, printed) = (server.database().await, server.database().await);
    for (schema, prefix) in [
        ("a \"quoted\" schema", "it's\"; DROP TABLE x; --"),
        ("100%", "%s_%I_"),
        ("Größe \u{1F980}", "préfixe_"),
        ("select", "{session}\\"),
        ("$step$", "$_step$"),
        (&"s".repeat(63), &"p".repeat(47)),
    ] {
        let there = |config| Builder::from_config(config).schema(schema).prefix(prefix);
        let builder = || there(database.config());
        works(&builder().open().await.unwrap()).await;
        let sql = builder().schema_sql().unwrap();
        printed.connect().await.batch_execute(&sql).await.unwrap();
        works(&there(printed.config()).create_schema(false).open().await.unwrap()).await;
        // Again: it is there.
        assert_eq!(
            builder()
                .open()
                .await
                .unwrap()
                .list(&Owner::Everyone, None, 10)
                .await
                .unwrap()
                .len(),
            1
        );
    }
    for (schema, prefix) in [
        ("s", "p".repeat(48)),
        (&"s".repeat(64), String::new()),
        ("", String::new()),
    ] {
        let refused = Builder::from_config(database.config())
            .schema(schema)
            .prefix(prefix)
            .open()
            .await;
        assert!(matches!(refused, Err(OpenError::Name { .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_nodes_that_start_at_once_make_the_schema_once() {
    let server = Server::shared().await;
    let database = server.database().await;
    let opening: Vec<_> = (0..20)
        .map(|_| tokio::spawn(Builder::from_config(database.config()).open()))
        .collect();
    for one in opening {
        one.await.unwrap().unwrap();
    }
    let steps = database
        .connect()
        .await
        .query("SELECT * FROM session_process.session_step", &[])
        .await
        .unwrap();
    let steps: Vec<&str> = steps.iter().map(|step| step.get("name")).collect();
    assert_eq!(steps, ["0001_sessions", "0002_locks", "0003_first_keys"]);
}

/// Behind a pooler the server bounds nothing: here somebody has the table to himself.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_is_an_error_also_where_the_schema_is_looked_at() {
    let fresh = fresh().await;
    let mut admin = fresh.database.connect().await;
    let locked = admin.transaction().await.unwrap();
    locked
        .batch_execute("LOCK TABLE session_process.session_step")
        .await
        .unwrap();
    let opening = Builder::from_config(fresh.database.config())
        .behind_pooler(true)
        .timeout(Duration::from_millis(300))
        .open();
    let opened = tokio::time::timeout(Duration::from_secs(10), opening).await;
    let refused = opened.expect("it waits for good").unwrap_err();
    assert!(
        matches!(refused, OpenError::Unreachable(StoreError::Timeout { .. })),
        "{refused:?}"
    );
}

/// For longer than for a row that somebody keeps locked.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_wait_for_one_that_is_slow_to_make_the_schema() {
    let server = Server::shared().await;
    let database = server.database().await;
    let mut admin = database.connect().await;
    let watch = database.connect().await;
    // What it has to be made of is in the way of the first one.
    admin.batch_execute("CREATE SCHEMA session_process").await.unwrap();
    let slow = admin.transaction().await.unwrap();
    slow.batch_execute("CREATE TABLE session_process.session_step ()")
        .await
        .unwrap();
    let builder = || Builder::from_config(database.config()).lock_timeout(Duration::from_millis(100));
    let opening = [tokio::spawn(builder().open()), tokio::spawn(builder().open())];
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                   AND clock_timestamp() - query_start > interval '300 milliseconds'";
    while watch.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < 2 {
        assert!(opening.iter().all(|one| !one.is_finished()), "it gave up");
    }
    slow.rollback().await.unwrap();
    let [one, other] = opening;
    works(&one.await.unwrap().unwrap()).await;
    other.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_schema_is_the_one_that_is_needed() {
    let server = Server::shared().await;
    let database = server.database().await;
    let builder = || {
        Builder::from_config(database.config())
            .schema("web app")
            .create_schema(false)
    };
    let missing = builder().open().await;
    assert!(matches!(missing, Err(OpenError::Missing { .. })), "{missing:?}");
    database
        .connect()
        .await
        .batch_execute(&builder().schema_sql().unwrap())
        .await
        .unwrap();
    works(&builder().open().await.unwrap()).await;
}

/// By the store, or by what it prints: from every step on which tables were left.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_an_older_step_are_moved_forward() {
    let server = Server::shared().await;
    let printed = PostgresStore::builder("host=localhost").unwrap().schema_sql().unwrap();
    let begins: Vec<usize> = printed.match_indices("\n-- 000").map(|(at, _)| at).collect();
    assert!(begins.len() >= 3, "{printed}");
    for made in [true, false] {
        for begin in &begins[1..] {
            let database = server.database().await;
            let admin = database.connect().await;
            admin
                .batch_execute(&format!("{}\nCOMMIT;", &printed[..*begin]))
                .await
                .unwrap();
            let builder = || Builder::from_config(database.config()).create_schema(false);
            let missing = builder().open().await;
            assert!(matches!(missing, Err(OpenError::Missing { .. })), "{missing:?}");
            if made {
                works(&builder().create_schema(true).open().await.unwrap()).await;
            } else {
                admin.batch_execute(&printed).await.unwrap();
                works(&builder().open().await.unwrap()).await;
            }
            // What is there is left alone.
            admin.batch_execute(&printed).await.unwrap();
            assert!(builder().open().await.is_ok());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_the_future_is_refused() {
    let fresh = fresh().await;
    let client = fresh.database.connect().await;
    client
        .batch_execute("INSERT INTO session_process.session_step VALUES (99, 'later')")
        .await
        .unwrap();
    let refused = Builder::from_config(fresh.database.config()).open().await;
    assert!(
        matches!(refused, Err(OpenError::Newer { found: 99, .. })),
        "{refused:?}"
    );
}

async fn as_role(database: &Database, rights: &str) -> Result<PostgresStore, OpenError> {
    let role = format!("{}_role", database.name());
    let client = database.connect().await;
    client
        .batch_execute(&format!("CREATE ROLE {role} LOGIN"))
        .await
        .unwrap();
    client.batch_execute(&rights.replace("{role}", &role)).await.unwrap();
    let mut config = database.config();
    config.user(&role);
    let opened = Builder::from_config(config).open().await;
    client
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
    opened
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named() {
    let server = Server::local().await;
    let database = server.database().await;
    let refused = as_role(&database, "").await.unwrap_err();
    assert!(matches!(refused, OpenError::Permission { .. }), "{refused:?}");
    Builder::from_config(database.config()).open().await.unwrap();
    let some = "GRANT USAGE ON SCHEMA session_process TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA \
                session_process TO {role}; GRANT INSERT, UPDATE ON session_process.session TO {role}";
    let refused = as_role(&database, some).await.unwrap_err().to_string();
    assert!(
        refused.contains("DELETE") && refused.contains("USAGE") && !refused.contains("INSERT"),
        "{refused}"
    );
}

/// gopgsession: every update of a session is a new entry in its indices.
///
/// Every single one, for which the page must be cleared of old rows in time; and a row is not old as long as a snapshot
/// may see it. That of the update itself goes back to the oldest transaction that is under way in any database of the
/// server: one of another test that takes as long as ten updates (all that a page has room for) is enough for one that
/// goes to another page. So is a statement of this database that has to stand still on a busy machine. Hence a server of
/// its own, with nothing but the writer at work: no listener that proves that it hears, no autovacuum (which would come
/// by for statistics after the first 50 updates).
#[tokio::test(flavor = "multi_thread")]
async fn an_update_touches_no_index() {
    let server = Server::private(Disk::Careless).await;
    let database = server.database().await;
    let store = Builder::from_config(database.config())
        .coherence(Coherence::Off)
        .open()
        .await
        .unwrap();
    let client = database.connect().await;
    client
        .batch_execute("ALTER TABLE session_process.session SET (autovacuum_enabled = off)")
        .await
        .unwrap();
    let new = session_process::store::Create {
        user_id: Some(session_process::store::OwnerText::new("ada").unwrap()),
        ..Default::default()
    };
    let mut version = apply(&store, change(key(1), Op::Create(Box::new(new))))
        .await
        .unwrap()
        .version;
    for n in 0..500_u64 {
        let edit = Edit {
            attributes: Some(
                [(
                    "n".into(),
                    session_process::store::Attribute {
                        json: n.to_string().into(),
                        version: Version(0),
                        expires_at: None,
                    },
                )]
                .into(),
            ),
            accessed_at: Some(store.now()),
            ..Edit::default()
        };
        let save = Change {
            key: key(1),
            expect: Expect {
                version: Some(version),
                epoch: None,
            },
            op: Op::Edit(Box::new(edit)),
        };
        version = apply(&store, save).await.unwrap().version;
    }
    // A backend reports what it did within a second or when it ends.
    store.shutdown().await;
    let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'session'";
    loop {
        let row = client.query_one(sql, &[]).await.unwrap();
        let (all, hot): (i64, i64) = (row.get(0), row.get(1));
        if all >= 500 {
            assert_eq!(hot, all, "every one of them stayed on its page");
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_is_in_the_database() {
    let fresh = fresh().await;
    let id = session_process::SessionId::generate();
    apply(&fresh.store, change(SessionKey::of(&id), Op::Create(Box::default())))
        .await
        .unwrap();
    let client = fresh.database.connect().await;
    let row = client
        .query_one("SELECT string_agg(s::text, ' ') FROM session_process.session s", &[])
        .await
        .unwrap();
    let text: String = row.get(0);
    let hex: String = id.expose().bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!text.contains(id.expose()) && !text.contains(&hex));
    let view = client
        .query_one("SELECT handle, ends::text FROM session_process.sessions", &[])
        .await
        .unwrap();
    assert_eq!((view.get::<_, &str>(0).len(), view.get::<_, &str>(1)), (14, "infinity"));
}
