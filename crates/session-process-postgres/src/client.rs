//! [`Client`]: a connection as the store asks on it, and its [`Statement`]s.
//!
//! # Invariants
//! 1. Behind a pooler nothing outlives a transaction, since the next one may be on another connection to the database, and
//!    this one is somebody else's then: a statement has no name there and goes with its text, and settings are those of
//!    the transaction.
//! 2. What goes into a statement is in no log: tokio-postgres prints parameters at DEBUG, and they are what users keep in their
//!    sessions.
//! 3. What is sent together is sent in one piece, also there: no round trip is added, and no other task's statement gets
//!    into its transaction.

use std::{error, fmt, future::poll_fn, pin::pin, sync::Arc};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio_postgres::{
    Error, Row,
    types::{Format, IsNull, ToSql, Type},
};

use crate::{connect::Connection, names::Names};

pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection.
pub(crate) struct Client {
    connection: Connection,
    /// Of a transaction, with its settings if it has some of its own.
    begin: Arc<str>,
    pooled: bool,
    /// Held while something that goes out in one piece is polled, and never across an await: tasks that share the
    /// connection would send between its parts.
    sending: Mutex<()>,
}

/// What is asked again and again.
#[derive(Clone)]
pub(crate) enum Statement {
    /// The server knows it.
    Prepared(tokio_postgres::Statement),
    /// It goes with its text each time.
    Text(Arc<Text>),
}

pub(crate) struct Text {
    sql: String,
    types: Vec<Type>,
}

impl Client {
    pub(crate) fn new(connection: Connection, begin: Arc<str>, pooled: bool) -> Self {
        Self {
            connection,
            begin,
            pooled,
            sending: Mutex::new(()),
        }
    }

    /// In `sql`, the type of each parameter stands behind it where it first comes: `$1::bigint`.
    pub(crate) async fn prepare(&self, names: &Names, sql: &str) -> Result<Statement, Error> {
        // Without the names, which may be any text.
        let types = types(&Names::plain().render(sql));
        let sql = names.render(sql);
        if self.pooled {
            return Ok(Statement::Text(Arc::new(Text { sql, types })));
        }
        let prepared = self.connection.client().prepare_typed(&sql, &types).await?;
        debug_assert_eq!(prepared.params(), types, "a parameter without its type: {sql}");
        Ok(Statement::Prepared(prepared))
    }

    pub(crate) async fn query(&self, statement: &Statement, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let client = self.connection.client();
        let hidden = Hidden::all(parameters);
        let parameters = Hidden::refs(&hidden);
        match statement {
            Statement::Prepared(statement) => client.query(statement, &parameters).await,
            Statement::Text(text) => client.query_typed(&text.sql, &text.with(&parameters)).await,
        }
    }

    pub(crate) async fn query_one(&self, statement: &Statement, parameters: Parameters<'_>) -> Result<Row, Error> {
        let client = self.connection.client();
        let hidden = Hidden::all(parameters);
        let parameters = Hidden::refs(&hidden);
        match statement {
            Statement::Prepared(statement) => client.query_one(statement, &parameters).await,
            Statement::Text(text) => client.query_typed_one(&text.sql, &text.with(&parameters)).await,
        }
    }

    pub(crate) async fn query_opt(
        &self,
        statement: &Statement,
        parameters: Parameters<'_>,
    ) -> Result<Option<Row>, Error> {
        let client = self.connection.client();
        let hidden = Hidden::all(parameters);
        let parameters = Hidden::refs(&hidden);
        match statement {
            Statement::Prepared(statement) => client.query_opt(statement, &parameters).await,
            Statement::Text(text) => client.query_typed_opt(&text.sql, &text.with(&parameters)).await,
        }
    }

    /// Returns how many rows it concerned.
    pub(crate) async fn execute(&self, statement: &Statement, parameters: Parameters<'_>) -> Result<u64, Error> {
        let client = self.connection.client();
        let hidden = Hidden::all(parameters);
        let parameters = Hidden::refs(&hidden);
        match statement {
            Statement::Prepared(statement) => client.execute(statement, &parameters).await,
            Statement::Text(text) => client.execute_typed(&text.sql, &text.with(&parameters)).await,
        }
    }

    /// What is asked once: with its text, in one round trip.
    pub(crate) async fn ask(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Option<Row>, Error> {
        self.connection.client().query_typed_opt(sql, parameters).await
    }

    pub(crate) async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.connection.client().batch_execute(sql).await
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        self.batch_execute(&self.begin).await
    }

    /// What `work` sends when it is first polled, in one piece, also where tasks share the connection; as a transaction,
    /// if it is several statements or has to take settings with it.
    pub(crate) async fn whole<T, E: From<Error>>(
        &self,
        several: bool,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if !several && !self.pooled {
            return work.await;
        }
        let mut all = pin!(async { tokio::join!(biased; self.begin(), work, self.batch_execute("COMMIT")) });
        let (begun, worked, committed) = poll_fn(|task| {
            let _alone = self.sending.lock();
            all.as_mut().poll(task)
        })
        .await;
        // The first error is the cause, the others follow from it.
        begun?;
        let worked = worked?;
        committed?;
        Ok(worked)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.client().is_closed()
    }
}

impl Text {
    fn with<'a>(&self, parameters: &[&'a (dyn ToSql + Sync)]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
        parameters.iter().copied().zip(self.types.iter().cloned()).collect()
    }
}

/// A parameter that says nothing of itself.
pub(crate) struct Hidden<'a>(pub(crate) &'a (dyn ToSql + Sync));

impl<'a> Hidden<'a> {
    fn all(parameters: Parameters<'a>) -> Vec<Self> {
        parameters.iter().map(|parameter| Self(*parameter)).collect()
    }

    fn refs(hidden: &'a [Self]) -> Vec<&'a (dyn ToSql + Sync)> {
        hidden.iter().map(|hidden| hidden as _).collect()
    }
}

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

/// As what it hides.
impl ToSql for Hidden<'_> {
    fn to_sql(&self, as_type: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
        self.0.to_sql_checked(as_type, out)
    }

    fn accepts(_: &Type) -> bool {
        // Whether what it hides does is found out in `to_sql_checked`.
        true
    }

    fn encode_format(&self, as_type: &Type) -> Format {
        self.0.encode_format(as_type)
    }

    fn to_sql_checked(
        &self,
        as_type: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn error::Error + Sync + Send>> {
        self.0.to_sql_checked(as_type, out)
    }
}

/// The types of a statement's parameters.
fn types(sql: &str) -> Vec<Type> {
    const KNOWN: [(&str, Type); 8] = [
        ("bigint[]", Type::INT8_ARRAY),
        ("bigint", Type::INT8),
        ("bytea[]", Type::BYTEA_ARRAY),
        ("bytea", Type::BYTEA),
        ("int[]", Type::INT4_ARRAY),
        ("int", Type::INT4),
        ("text[]", Type::TEXT_ARRAY),
        ("text", Type::TEXT),
    ];
    let mut types = Vec::new();
    for after in sql.split('$').skip(1) {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number @ 1..) = after[..digits].parse::<usize>() else {
            continue;
        };
        if types.len() < number {
            types.resize(number, Type::UNKNOWN);
        }
        let cast = after[digits..].strip_prefix("::").unwrap_or_default();
        // The whole word: `interval` is no `int`.
        let word = cast
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let end = word.count();
        let array = if cast[end..].starts_with("[]") { 2 } else { 0 };
        let cast = &cast[..end + array];
        if let Some((_, known)) = KNOWN.iter().find(|(name, _)| cast == *name) {
            types[number - 1] = known.clone();
        }
    }
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_the_type_that_stands_behind_it() {
        let sql = "SELECT $2::text[], $1::bigint FROM t WHERE a = $2 AND b = $3::bytea AND c = $5";
        let expected = [Type::INT8, Type::TEXT_ARRAY, Type::BYTEA, Type::UNKNOWN, Type::UNKNOWN];
        assert_eq!(types(sql), expected);
        assert_eq!(types("SELECT '$', '$$', $0"), []);
        let others = "$1::interval, $2::int, $3::int8, $4::bigint_of_ours, $5::text)";
        let expected = [Type::UNKNOWN, Type::INT4, Type::UNKNOWN, Type::UNKNOWN, Type::TEXT];
        assert_eq!(types(others), expected);
    }
}
