//! The schema: named steps forward, under a lock that all nodes share.

use std::time::Duration;

use session_process::store::StoreError;
use tokio_postgres::{
    Row,
    error::SqlState,
    types::{ToSql, Type},
};

use crate::{OpenError, client::Client, names::Names};

/// Every step from nothing to the present schema. A step that was released is never changed: another follows.
const STEPS: &[(&str, &str)] = &[
    ("0001_sessions", include_str!("../sql/0001_sessions.sql")),
    ("0002_locks", include_str!("../sql/0002_locks.sql")),
    ("0003_first_keys", include_str!("../sql/0003_first_keys.sql")),
];

/// How long all steps may take. Milliseconds, for tables without rows; a machine that starts many nodes at once is busy.
const STEPS_TAKE: Duration = Duration::from_secs(60);

/// The table that counts the steps.
const STEP_TABLE: &str = "session_step";

/// What the schema is made with, or moved forward from any step, for those who run such things themselves.
pub(crate) fn sql(names: &Names) -> String {
    let mut sql = format!("BEGIN;\nCREATE SCHEMA IF NOT EXISTS {};\n", names.quoted_schema());
    sql += &step_table(names);
    for (n, (name, step)) in STEPS.iter().enumerate() {
        let body = format!("{}\n{}", names.render(step), taken(names, n + 1, name));
        let mut quotes = String::from("$step$");
        // A name may be any text.
        while body.contains(&quotes) {
            quotes.insert(1, '_');
        }
        sql += &format!(
            "\n-- {name}\nDO {quotes} BEGIN IF NOT EXISTS (SELECT FROM {} WHERE step >= {}) THEN\n{body}END IF; END \
             {quotes};\n",
            names.qualified(STEP_TABLE),
            n + 1
        );
    }
    sql += "COMMIT;\n";
    sql
}

fn step_table(names: &Names) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (step int PRIMARY KEY, name text NOT NULL, taken_at timestamptz NOT NULL \
         DEFAULT now());\n",
        names.qualified(STEP_TABLE)
    )
}

fn taken(names: &Names, step: usize, name: &str) -> String {
    format!(
        "INSERT INTO {} (step, name) VALUES ({step}, '{name}');\n",
        names.qualified(STEP_TABLE)
    )
}

/// Whether it is there, and not of the future. What is missing is made, if it may be.
///
/// `patience`: how long the database may take to answer. Behind a pooler nobody else bounds it.
pub(crate) async fn migrate(client: &Client, names: &Names, may: bool, patience: Duration) -> Result<(), OpenError> {
    let looked = within(patience, async {
        suitable(client).await?;
        steps(client, names).await
    });
    if looked.await? < STEPS.len() {
        if !may {
            return Err(OpenError::Missing {
                what: format!("table {}, or its newest columns", names.qualified("session")),
            });
        }
        // The server gives up first, and says why.
        within(STEPS_TAKE + patience, forward(client, names)).await?;
    }
    within(patience, permitted(client, names)).await
}

async fn within<T>(patience: Duration, work: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let timeout = |_| OpenError::Unreachable(StoreError::Timeout { context: "open" });
    tokio::time::timeout(patience, work).await.map_err(timeout)?
}

/// Takes the steps that are missing.
async fn forward(client: &Client, names: &Names) -> Result<(), OpenError> {
    // An error on the way ends the connection, and so the transaction.
    client.begin().await?;
    // Whoever waits for a neighbour's steps waits for as long as these may take.
    let patience = STEPS_TAKE.as_millis();
    client
        .batch_execute(&format!(
            "SET LOCAL statement_timeout = {patience}; SET LOCAL lock_timeout = {patience}"
        ))
        .await?;
    // Until the end of the transaction: of nodes that start at a time, one makes it and the others find it made.
    let lock = names.lock("schema");
    client
        .ask("SELECT pg_advisory_xact_lock($1)", &[(&lock, Type::INT8)])
        .await?;
    let there = one(client, "SELECT to_regnamespace($1) IS NOT NULL", &names.quoted_schema()).await?;
    if !there.get::<_, bool>(0) {
        let create = format!("CREATE SCHEMA {}", names.quoted_schema());
        client.batch_execute(&create).await?;
    }
    let there = one(
        client,
        "SELECT to_regclass($1) IS NOT NULL",
        &names.qualified(STEP_TABLE),
    )
    .await?;
    let mut done = 0;
    if there.get(0) {
        done = count(client, names).await?;
    } else {
        client.batch_execute(&step_table(names)).await?;
    }
    for (n, (name, step)) in STEPS.iter().enumerate().skip(done) {
        tracing::debug!(step = name, "session store: schema moves forward");
        client.batch_execute(&names.render(step)).await?;
        client.batch_execute(&taken(names, n + 1, name)).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// Asks for a row, which is there, about a text.
async fn one(client: &Client, sql: &str, text: &str) -> Result<Row, OpenError> {
    let row = client.ask(sql, &[(&text, Type::TEXT)]).await?;
    Ok(row.expect("a row, whatever is in it"))
}

/// How many steps were taken; an error if it is from the future.
async fn steps(client: &Client, names: &Names) -> Result<usize, OpenError> {
    let found = count(client, names).await;
    match found {
        Err(OpenError::Database(error))
            if error.code() == Some(&SqlState::UNDEFINED_TABLE)
                || error.code() == Some(&SqlState::INVALID_SCHEMA_NAME) =>
        {
            Ok(0)
        }
        other => other,
    }
}

async fn count(client: &Client, names: &Names) -> Result<usize, OpenError> {
    let sql = format!("SELECT coalesce(max(step), 0) FROM {}", names.qualified(STEP_TABLE));
    let row = client.ask(&sql, &[]).await?;
    let found: i32 = row.map_or(0, |row| row.get(0));
    match usize::try_from(found) {
        Ok(found) if found <= STEPS.len() => Ok(found),
        _ => Err(OpenError::Newer {
            found,
            known: STEPS.len(),
        }),
    }
}

async fn suitable(client: &Client) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
               current_setting($1)";
    let row = one(client, sql, "server_encoding").await?;
    let (number, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < 130_000 || encoding != "UTF8" {
        return Err(OpenError::Unsuitable {
            found: format!("PostgreSQL {version} with {encoding}"),
        });
    }
    Ok(())
}

/// Asks for every permission at once: better now, by name, than at the first login.
async fn permitted(client: &Client, names: &Names) -> Result<(), OpenError> {
    for (table, sequence) in [("session", "session_range"), ("lock", "lock_token")] {
        let sql = "SELECT concat_ws(', ', \
                       CASE WHEN NOT has_table_privilege($1, 'SELECT') THEN 'SELECT' END, \
                       CASE WHEN NOT has_table_privilege($1, 'INSERT') THEN 'INSERT' END, \
                       CASE WHEN NOT has_table_privilege($1, 'UPDATE') THEN 'UPDATE' END, \
                       CASE WHEN NOT has_table_privilege($1, 'DELETE') THEN 'DELETE' END, \
                       CASE WHEN NOT has_sequence_privilege($2, 'USAGE') THEN 'USAGE of its sequence' END), \
                   current_user::text";
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [
            (&names.qualified(table), Type::TEXT),
            (&names.qualified(sequence), Type::TEXT),
        ];
        let row = client.ask(sql, &parameters).await?.expect("a row, whatever is in it");
        let (lacking, role): (String, String) = (row.get(0), row.get(1));
        if !lacking.is_empty() {
            return Err(OpenError::Missing {
                what: format!("permission {lacking} on {} for role {role}", names.qualified(table)),
            });
        }
    }
    Ok(())
}
