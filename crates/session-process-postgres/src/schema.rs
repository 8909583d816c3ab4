//! The schema: named steps forward, under a lock that all nodes share.

use tokio_postgres::{Client, error::SqlState};

use crate::{OpenError, names::Names};

/// Every step from nothing to the present schema. A step that was released is never changed: another follows.
const STEPS: &[(&str, &str)] = &[
    ("0001_sessions", include_str!("../sql/0001_sessions.sql")),
    ("0002_locks", include_str!("../sql/0002_locks.sql")),
];

/// The table that counts the steps.
const STEP_TABLE: &str = "session_step";

/// What the schema is made with, for those who run such things themselves.
pub(crate) fn sql(names: &Names, create_schema: bool) -> String {
    let mut sql = String::from("BEGIN;\n");
    if create_schema {
        sql += &format!("CREATE SCHEMA IF NOT EXISTS {};\n", names.quoted_schema());
    }
    sql += &step_table(names);
    for (n, (name, step)) in STEPS.iter().enumerate() {
        sql += &format!("\n-- {name}\n{}\n{}", names.render(step), taken(names, n + 1, name));
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
pub(crate) async fn migrate(client: &mut Client, names: &Names, may: bool) -> Result<(), OpenError> {
    suitable(client).await?;
    if steps(client, names).await? == STEPS.len() {
        return permitted(client, names).await;
    }
    if !may {
        return Err(OpenError::Missing {
            what: format!("table {}, or its newest columns", names.qualified("session")),
        });
    }
    let transaction = client.transaction().await?;
    // Until the end of the transaction: of nodes that start at a time, one makes it and the others find it made.
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&names.lock("schema")])
        .await?;
    let exists = transaction
        .query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&names.schema])
        .await?;
    if exists.is_none() {
        transaction
            .batch_execute(&format!("CREATE SCHEMA {}", names.quoted_schema()))
            .await?;
    }
    let there = transaction
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&names.qualified(STEP_TABLE)])
        .await?;
    let mut done = 0;
    if there.get(0) {
        done = count(&transaction, names).await?;
    } else {
        transaction.batch_execute(&step_table(names)).await?;
    }
    for (n, (name, step)) in STEPS.iter().enumerate().skip(done) {
        tracing::debug!(step = name, "session store: schema moves forward");
        transaction.batch_execute(&names.render(step)).await?;
        transaction.batch_execute(&taken(names, n + 1, name)).await?;
    }
    transaction.commit().await?;
    permitted(client, names).await
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

async fn count(client: &impl tokio_postgres::GenericClient, names: &Names) -> Result<usize, OpenError> {
    let sql = format!("SELECT coalesce(max(step), 0) FROM {}", names.qualified(STEP_TABLE));
    let found: i32 = client.query_one(&sql, &[]).await?.get(0);
    match usize::try_from(found) {
        Ok(found) if found <= STEPS.len() => Ok(found),
        _ => Err(OpenError::Newer {
            found,
            known: STEPS.len(),
        }),
    }
}

async fn suitable(client: &Client) -> Result<(), OpenError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('server_encoding')",
            &[],
        )
        .await?;
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
        let row = client
            .query_one(
                "SELECT concat_ws(', ', \
                     CASE WHEN NOT has_table_privilege($1, 'SELECT') THEN 'SELECT' END, \
                     CASE WHEN NOT has_table_privilege($1, 'INSERT') THEN 'INSERT' END, \
                     CASE WHEN NOT has_table_privilege($1, 'UPDATE') THEN 'UPDATE' END, \
                     CASE WHEN NOT has_table_privilege($1, 'DELETE') THEN 'DELETE' END, \
                     CASE WHEN NOT has_sequence_privilege($2, 'USAGE') THEN 'USAGE of its sequence' END), \
                 current_user::text",
                &[&names.qualified(table), &names.qualified(sequence)],
            )
            .await?;
        let (lacking, role): (String, String) = (row.get(0), row.get(1));
        if !lacking.is_empty() {
            return Err(OpenError::Missing {
                what: format!("permission {lacking} on {} for role {role}", names.qualified(table)),
            });
        }
    }
    Ok(())
}
