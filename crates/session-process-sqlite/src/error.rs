//! [`OpenError`], and what SQLite's errors mean to a [`StoreError`].

use std::{io, path::PathBuf};

use rusqlite::{Error, ErrorCode};
use session_process::store::StoreError;

/// Why a file could not be opened as a session store. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory, or the file in it, is not there and could not be made.
    #[error("can't create the session store {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is not an SQLite database, or is damaged.
    #[error("{} is not an SQLite database, or is damaged", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// It is a database of another program.
    #[error("{} is the database of another program; give the session store a file of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of this crate made it.
    #[error(
        "{} has schema {found}, and this version of session-process-sqlite knows {known}; use the newer version",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that is known here.
        known: usize,
    },
    /// It can be read only. A session store writes, if only to tell the other processes that it reads.
    #[error("{} can't be written to: the file, its directory or the file system is read-only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process kept it locked for as long as the builder's
    /// [`busy_timeout`](crate::Builder::busy_timeout) says.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file system can't do what SQLite's write-ahead log needs: shared memory. Network file systems can't.
    #[error("{} is on a file system without shared memory, which the write-ahead log needs", path.display())]
    NoWriteAheadLog {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no thread.
    #[error("can't start the threads of the session store")]
    Threads(#[source] io::Error),
    /// SQLite failed otherwise.
    #[error("can't open the session store {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    pub(crate) fn from_sqlite(error: Error, path: &std::path::Path) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::NotADatabase { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            _ => Self::Sqlite {
                path,
                source: error.into(),
            },
        }
    }
}

/// An error of SQLite while it did `context`, as its callers see it.
pub(crate) fn store_error(context: &'static str, error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::unavailable("the file is locked by another process", error)
        }
        Some(ErrorCode::DiskFull) => StoreError::unavailable("the disk is full", error),
        Some(ErrorCode::SystemIoFailure) => StoreError::unavailable("the disk refused", error),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Corrupt {
            what: format!("the file is damaged ({error})"),
        },
        _ => StoreError::failed(context, error),
    }
}

/// The whole file is affected, not one statement: the same with other values would fail too.
pub(crate) fn concerns_the_file(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
        )
    )
}

/// No room to write, or a write that the system refused. What has gathered in the log may be in the way.
pub(crate) fn concerns_the_disk(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure)
    )
}
