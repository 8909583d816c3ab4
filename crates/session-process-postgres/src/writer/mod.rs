//! A connection that writes. It takes what has gathered while the last commit was under way and writes it as one
//! statement over arrays; it never waits for more, so a change that is alone is on its way at once.
//!
//! # Invariants
//! 1. A caller is answered after the commit that its changes are part of.
//! 2. A change is written only at the version that it was judged by (in the statement's `WHERE`); where somebody was
//!    quicker, it is judged again.
//! 3. All changes of one key go through one writer, in the order in which they came.
//! 4. One piece of work that fails does not take its neighbours with it.

mod batch;
mod group;
mod guarded;
mod judge;
mod rotate;
mod touch;

use std::sync::Arc;

use session_process::store::{Change, Outcome, StoreError, Touch};
use tokio::sync::oneshot;

use self::group::Group;
use crate::{
    changes::Notices,
    connection::{Client, Connector, Link, Prepared, Statement, prepare},
    listener::{Kind, Node, Own},
    names::Names,
    queue::{Queue, Serves},
};

/// Pieces of work that go together at most: a bound on how long the first of them waits for the last.
const TOGETHER: usize = 1024;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub(crate) enum Work {
    Commit(Vec<Change>, Reply<Vec<Outcome>>),
    Touch(Vec<Touch>, Reply<()>),
}

pub(crate) struct Statements {
    save: Statement,
    save_one: Statement,
    edit: Statement,
    create: Statement,
    delete: Statement,
    touch: Statement,
    load: Statement,
    of_users: Statement,
    both: Statement,
    rotate: Statement,
    lock: Statement,
    take_away: Statement,
    fence: Statement,
}

impl Prepared for Statements {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, tokio_postgres::Error> {
        let prepare = |sql| prepare(client, names, sql);
        let (save, save_one, edit, create, delete, touch, load, of_users, both, rotate, lock, take_away, fence) = tokio::try_join!(
            prepare(include_str!("../../sql/save.sql")),
            prepare(include_str!("../../sql/save_one.sql")),
            prepare(include_str!("../../sql/edit.sql")),
            prepare(include_str!("../../sql/create.sql")),
            prepare(include_str!("../../sql/delete.sql")),
            prepare(include_str!("../../sql/touch.sql")),
            prepare(include_str!("../../sql/load.sql")),
            prepare(include_str!("../../sql/of_users.sql")),
            prepare(include_str!("../../sql/both.sql")),
            prepare(include_str!("../../sql/rotate.sql")),
            prepare("SELECT pg_advisory_xact_lock(g.key) FROM unnest($1::bigint[]) AS g (key)"),
            prepare("DELETE FROM {session} WHERE key = $1::bytea"),
            prepare(include_str!("../../sql/lock_fence.sql")),
        )?;
        Ok(Self {
            save,
            save_one,
            edit,
            create,
            delete,
            touch,
            load,
            of_users,
            both,
            rotate,
            lock,
            take_away,
            fence,
        })
    }
}

/// One writer: its connection, and what it tells of.
pub(crate) struct Writer {
    link: Link<Statements>,
    notices: Arc<Notices>,
    node: Node,
    own: Own,
    changed: String,
    removed: String,
    moved: String,
}

impl Writer {
    pub(crate) fn new(connector: Arc<Connector>, notices: Arc<Notices>, node: Node, own: Own) -> Self {
        Self {
            link: Link::new(connector),
            notices,
            changed: node.head(Kind::Changed),
            removed: node.head(Kind::Removed),
            moved: node.head(Kind::Moved),
            node,
            own,
        }
    }

    /// What was sent may or may not take effect, now or later.
    fn in_doubt(&mut self) {
        self.own.rename(&mut self.node);
        self.changed = self.node.head(Kind::Changed);
        self.removed = self.node.head(Kind::Removed);
        self.moved = self.node.head(Kind::Moved);
    }

    /// Writes until the queue is closed and empty.
    pub(crate) async fn run(mut self, queue: Arc<Queue<Work>>) {
        let _serves = Serves(&queue);
        while let Some(work) = queue.take(TOGETHER).await {
            let mut commits = Vec::new();
            for work in work {
                match work {
                    Work::Commit(changes, reply) => commits.push((changes, reply)),
                    Work::Touch(touches, reply) => {
                        // After the changes that came before it.
                        self.commit(std::mem::take(&mut commits)).await;
                        let _ = reply.send(self.touch(&touches).await);
                    }
                }
            }
            self.commit(commits).await;
        }
    }

    async fn commit(&mut self, commits: Vec<(Vec<Change>, Reply<Vec<Outcome>>)>) {
        if commits.is_empty() {
            return;
        }
        let mut group = Group::new(commits);
        match self.group(&mut group, None).await {
            Ok(()) => {}
            // The database's affair, and nobody's change is at fault.
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Overloaded)) => return group.fail(&error),
            // The database hangs: to ask for each of them again would take as long once more.
            Err(error) if self.link.is_down() => return group.fail(&error),
            Err(error) if group.calls() == 1 => return group.fail(&error),
            // One of them is at fault, or waits for somebody's lock.
            Err(_) => {
                for call in 0..group.calls() {
                    if let Err(error) = self.group(&mut group, Some(call)).await {
                        group.fail_call(call, error);
                    }
                }
            }
        }
        group.answer();
    }

    /// All of the group that is open, or of one call in it.
    async fn group(&mut self, group: &mut Group, call: Option<usize>) -> Result<(), StoreError> {
        let limit = self.link.connector.timeout;
        match tokio::time::timeout(limit, self.rounds(group, call)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.in_doubt();
                // It may be in the midst of a transaction.
                self.roll_back().await;
                Err(error)
            }
            Err(_) => {
                self.in_doubt();
                self.link.give_up();
                Err(StoreError::Timeout { context: "commit" })
            }
        }
    }

    async fn roll_back(&mut self) {
        if self.link.is_down() || self.link.lost() {
            return;
        }
        let limit = self.link.connector.timeout;
        let Ok((client, _)) = self.link.ready().await else {
            return;
        };
        let rolled_back = tokio::time::timeout(limit, client.batch_execute("ROLLBACK")).await;
        if !matches!(rolled_back, Ok(Ok(()))) {
            self.link.give_up();
        }
    }
}
