//! A connection to the file, with its settings.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{builder::Builder, error::OpenError, schema};

/// Pages in the log before it is worked into the file, which the writer does between two groups: 16 MB. SQLite's 1,000
/// are filled by two groups of a busy site, and then every other group would pay for it.
const CHECKPOINT_PAGES: u32 = 4000;

/// To what the log is cut back after a burst.
const LOG_LIMIT: u32 = 64 << 20;

/// Pages that a connection keeps, in KiB: what is in use on a busy site should not be read again for every group, and a
/// group should not have to go to the log in pieces. SQLite's 2 MB hold some 4,000 small sessions.
const CACHE_KIB: i32 = 16 << 10;

/// Between two attempts to open a file that others are opening.
const AGAIN: Duration = Duration::from_millis(5);

/// Statements are few; none should be prepared twice.
const STATEMENTS: usize = 48;

/// The writer's connection: makes the file and the schema where they are missing.
pub(crate) fn open_writer(builder: &Builder) -> Result<Connection, OpenError> {
    let path = builder.path.as_path();
    create(path)?;
    let mut connection = connect(path, builder.busy_timeout)?;
    let fail = |error| OpenError::from_sqlite(error, path);
    if connection.is_readonly("main").map_err(fail)? {
        return Err(OpenError::ReadOnly { path: path.into() });
    }
    // SQLite waits for a lock, except where waiting could be for ever as far as it can tell: that another connection makes
    // the log of this very file is such a case, and it is over in a moment.
    let begun = Instant::now();
    loop {
        match set_up(&mut connection, builder) {
            Err(OpenError::Locked { .. }) if begun.elapsed() < builder.busy_timeout => thread::sleep(AGAIN),
            outcome => return outcome.map(|()| connection),
        }
    }
}

/// Makes the file what it has to be, if it isn't yet.
fn set_up(connection: &mut Connection, builder: &Builder) -> Result<(), OpenError> {
    let path = builder.path.as_path();
    let fail = |error| OpenError::from_sqlite(error, path);
    // Before anything is changed: is it ours?
    schema::taken(connection, path)?;
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(fail)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(OpenError::NoWriteAheadLog { path: path.into() });
    }
    connection
        .pragma_update(None, "synchronous", builder.synchronous.pragma())
        .and_then(|()| connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES))
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", LOG_LIMIT))
        .map_err(fail)?;
    schema::migrate(connection, path)
}

/// A connection that only reads.
pub(crate) fn open_reader(builder: &Builder) -> Result<Connection, OpenError> {
    let connection = connect(&builder.path, builder.busy_timeout)?;
    connection
        .pragma_update(None, "query_only", true)
        .map_err(|error| OpenError::from_sqlite(error, &builder.path))?;
    Ok(connection)
}

fn connect(path: &Path, busy_timeout: Duration) -> Result<Connection, OpenError> {
    // Each connection stays on one thread, so SQLite's own mutexes are not needed. No URI: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fail = |error: rusqlite::Error| OpenError::from_sqlite(error, path);
    let connection = Connection::open_with_flags(path, flags).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => OpenError::Create {
            path: path.into(),
            source: io::Error::other(error),
        },
        _ => fail(error),
    })?;
    connection
        .busy_timeout(busy_timeout)
        .and_then(|()| connection.pragma_update(None, "cache_size", -CACHE_KIB))
        .map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Makes the directory and an empty file, for the present user alone. What is there already keeps its permissions.
fn create(path: &Path) -> Result<(), OpenError> {
    let attempt = || {
        if path.try_exists()? {
            return Ok(());
        }
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            create_directories(directory)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(path) {
            Ok(_) => Ok(()),
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    };
    attempt().map_err(|source| match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path: path.into() },
        _ => OpenError::Create {
            path: path.into(),
            source,
        },
    })
}

fn create_directories(directory: &Path) -> io::Result<()> {
    let missing: Vec<PathBuf> = directory
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .map(Path::to_path_buf)
        .collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    // A new directory survives a power cut when the one above it was written. SQLite does the same for its files.
    #[cfg(unix)]
    for made in &missing {
        let above = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    drop(missing);
    Ok(())
}
