//! [`OpenError`], and what PostgreSQL's errors mean to a [`StoreError`].

use session_process::store::StoreError;
use tokio_postgres::{Error, error::SqlState};

/// Why a database could not be opened as a session store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The connection string can't be understood.
    #[error("the connection string of the session store can't be understood")]
    Url(#[source] Error),
    /// A name that PostgreSQL would cut off, or none.
    #[error("{what} {name:?} of the session store: 1 to {most} bytes without NUL, so that PostgreSQL cuts nothing off")]
    Name {
        /// Schema or prefix.
        what: &'static str,
        /// What was given.
        name: String,
        /// The most bytes that it may have.
        most: usize,
    },
    /// The server gave no connection.
    #[error("the session store's database can't be reached")]
    Unreachable(#[source] StoreError),
    /// The server is older than 13, or the database is not in UTF-8.
    #[error("the session store needs PostgreSQL 13 or later and a database in UTF-8; this is {found}")]
    Unsuitable {
        /// What the server says of itself.
        found: String,
    },
    /// [`Coherence::Listen`](crate::Coherence::Listen) was asked for, on connections on which nothing can be heard.
    #[error(
        "the session store can't LISTEN on the connections of a pooler or a pool; give it one for that \
         (`listen_with`), or let it poll (`Coherence::Poll`)"
    )]
    CannotListen,
    /// The schema or the tables are not there, and were not to be made.
    #[error(
        "{what} of the session store is missing; run the statements of `schema_sql()`, or let `create_schema` make it"
    )]
    Missing {
        /// What.
        what: String,
    },
    /// A newer version of this crate made the tables.
    #[error("the session store's tables have schema {found}, and this version knows {known}; use the newer version")]
    Newer {
        /// Their schema.
        found: i32,
        /// The newest that is known here.
        known: usize,
    },
    /// The role may not do it.
    #[error("the role of the session store lacks a permission: {what}")]
    Permission {
        /// What the server says.
        what: String,
        /// The error.
        #[source]
        source: Error,
    },
    /// PostgreSQL failed otherwise.
    #[error("can't open the session store's database")]
    Database(#[source] Error),
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE => Self::Permission {
                what: db.message().to_owned(),
                source: error,
            },
            _ => Self::Database(error),
        }
    }
}

/// An error of PostgreSQL while it did `context`, as its callers see it.
pub(crate) fn store_error(context: &'static str, error: Error) -> StoreError {
    let Some(db) = error.as_db_error() else {
        // A parameter that can't be written down is the caller's; all else concerns the connection.
        return if error.is_closed()
            || std::error::Error::source(&error).is_some_and(|source| source.is::<std::io::Error>())
        {
            StoreError::unavailable(context, error)
        } else {
            StoreError::failed(context, error)
        };
    };
    let code = db.code().code();
    if *db.code() == SqlState::QUERY_CANCELED || *db.code() == SqlState::LOCK_NOT_AVAILABLE {
        return StoreError::Timeout { context };
    }
    // Connections, resources, shutdown, system errors (a full disk among them); a standby that takes no writes.
    let transient = ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || *db.code() == SqlState::READ_ONLY_SQL_TRANSACTION
        || is_collision(&error);
    if transient {
        StoreError::unavailable(context, error)
    } else {
        StoreError::failed(context, error)
    }
}

/// Two transactions were in each other's way, and the same again will probably succeed.
pub(crate) fn is_collision(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::UNIQUE_VIOLATION,
        ]
        .contains(code)
    })
}
