//! The thread that writes. It takes what has gathered while the disk was busy with the last group, and writes it as
//! one transaction; it never waits for more, so a change that is alone is on its way at once.
//!
//! # Invariants
//! 1. A caller is answered after the `COMMIT` that its changes are part of.
//! 2. One piece of work that fails is rolled back and does not take its neighbours with it.
//! 3. The transaction takes SQLite's write lock before it reads, so what a change is judged by is what it is applied
//!    to, also where another process writes to the file.
//! 4. Whatever panics, the thread goes on, and those whose work it was are answered.

mod apply;
mod owner_limit;
mod save;
mod statements;
mod sweep;
mod touch;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use rusqlite::Connection;
use session_process::store::{Change, Notice, Outcome, Removed, StoreError, Touch};
use tokio::sync::oneshot;

pub(crate) use self::sweep::Swept;
use crate::{
    builder::Clock,
    changes::Notices,
    error::{concerns_the_disk, concerns_the_file, store_error},
    queue::{Queue, Taken},
};

/// Pieces of work that go together at most: a bound on how long the first of them waits for the last.
const TOGETHER: usize = 4096;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub(crate) enum Work {
    Commit(Vec<Change>, Reply<Vec<Outcome>>),
    Touch(Vec<Touch>, Reply<()>),
    Sweep(usize, Reply<Swept>),
}

/// What came of a piece of work, not yet durable.
enum Done {
    Commit(Vec<Outcome>),
    Touch,
    Sweep(Swept),
}

pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) queue: Arc<Queue<Work>>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) clock: Clock,
    pub(crate) watch_interval: Duration,
}

impl Writer {
    /// Writes until the queue is closed and empty; then works the log into the file and closes it.
    pub(crate) fn run(mut self) {
        let mut seen = self.data_version();
        loop {
            let watching = self.notices.anybody();
            let work = self.queue.take(TOGETHER, watching.then_some(self.watch_interval));
            if watching {
                // Counts the commits of other connections to the file; ours don't show.
                let now = self.data_version();
                if now != seen {
                    self.notices.tell([Notice::Lagged]);
                }
                seen = now;
            }
            match work {
                Taken::Work(work) => self.write(work),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
        }
        // The last connection to close would do so too, unless another process has the file open.
        self.checkpoint();
        self.notices.close();
    }

    fn write(&mut self, work: Vec<Work>) {
        // The work is dropped where it panics, and with it the senders: its callers learn of it by that.
        if catch_unwind(AssertUnwindSafe(|| self.group(work))).is_err() {
            self.roll_back();
        }
    }

    fn group(&mut self, work: Vec<Work>) {
        match self.transaction(&work) {
            Ok((done, notices)) => self.answer(work, done, notices),
            Err(error) if concerns_the_file(&error) => refuse(work, &error),
            Err(error) if work.len() == 1 && !concerns_the_disk(&error) => refuse(work, &error),
            Err(error) => {
                // What has gathered in the log may be in the way of what is new.
                if concerns_the_disk(&error) {
                    self.checkpoint();
                }
                // One of them may be at fault, and on a full disk less may fit than all.
                for one in work {
                    let one = vec![one];
                    match self.transaction(&one) {
                        Ok((done, notices)) => self.answer(one, done, notices),
                        Err(error) => refuse(one, &error),
                    }
                }
            }
        }
    }

    fn transaction(&mut self, work: &[Work]) -> rusqlite::Result<(Vec<Done>, Vec<Notice>)> {
        let mut notices = Vec::new();
        let attempt = self.begin().and_then(|()| {
            let done: Vec<Done> = work
                .iter()
                .map(|work| self.apply(work, &mut notices))
                .collect::<rusqlite::Result<_>>()?;
            self.execute("COMMIT")?;
            Ok(done)
        });
        match attempt {
            Ok(done) => Ok((done, notices)),
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    fn apply(&self, work: &Work, notices: &mut Vec<Notice>) -> rusqlite::Result<Done> {
        let connection = &self.connection;
        match work {
            Work::Commit(changes, _) => {
                let apply = |change| apply::apply(connection, change, (self.clock)(), notices);
                changes
                    .iter()
                    .map(apply)
                    .collect::<rusqlite::Result<_>>()
                    .map(Done::Commit)
            }
            Work::Touch(touches, _) => {
                let now = (self.clock)();
                touches
                    .iter()
                    .try_for_each(|touch| touch::touch(connection, touch, now))?;
                Ok(Done::Touch)
            }
            Work::Sweep(limit, _) => {
                let swept = sweep::sweep(connection, *limit, (self.clock)())?;
                notices.extend(swept.removed.iter().map(notice_of));
                Ok(Done::Sweep(swept))
            }
        }
    }

    fn answer(&self, work: Vec<Work>, done: Vec<Done>, notices: Vec<Notice>) {
        self.notices.tell(notices);
        for (work, done) in work.into_iter().zip(done) {
            // Whoever gave up doesn't hear it.
            match (work, done) {
                (Work::Commit(_, reply), Done::Commit(outcomes)) => drop(reply.send(Ok(outcomes))),
                (Work::Touch(_, reply), Done::Touch) => drop(reply.send(Ok(()))),
                (Work::Sweep(_, reply), Done::Sweep(swept)) => drop(reply.send(Ok(swept))),
                _ => unreachable!("what is done is of the kind of the work"),
            }
        }
    }

    fn begin(&self) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")
    }

    fn execute(&self, sql: &'static str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// After a failure. SQLite has rolled back by itself if the disk failed.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "session store: a failed transaction could not be rolled back");
        }
    }

    /// Works the log into the file, as far as readers allow, so that the log can begin anew.
    fn checkpoint(&self) {
        let row = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = row {
            tracing::debug!(%error, "session store: the log stays for the next opening");
        }
    }

    fn data_version(&self) -> Option<i64> {
        let mut statement = self.connection.prepare_cached("PRAGMA data_version").ok()?;
        statement.query_row([], |row| row.get(0)).ok()
    }
}

fn refuse(work: Vec<Work>, error: &rusqlite::Error) {
    let error = store_error("write", copy(error));
    for work in work {
        let error = error.clone();
        match work {
            Work::Commit(_, reply) => drop(reply.send(Err(error))),
            Work::Touch(_, reply) => drop(reply.send(Err(error))),
            Work::Sweep(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// The error without what can't be copied.
fn copy(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => rusqlite::Error::SqliteFailure(*code, message.clone()),
        other => rusqlite::Error::ToSqlConversionFailure(other.to_string().into()),
    }
}

fn notice_of(removed: &Removed) -> Notice {
    Notice::Removed {
        key: removed.key,
        version: removed.version,
    }
}
