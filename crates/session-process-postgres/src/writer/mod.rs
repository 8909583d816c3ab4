//! A connection that writes. It takes what has gathered while the last commit was under way and writes it as one
//! statement over arrays; it never waits for more, so a change that is alone is on its way at once.
//!
//! # Invariants
//! 1. A caller is answered after the commit that its changes are part of.
//! 2. A change is written only at the version that it was judged by (in the statement's `WHERE`); where somebody was
//!    quicker, it is judged again.
//! 3. All changes of one key go through one writer, in the order in which they came; but for those that came in one call
//!    with a rotation or a limit, which go with the first of that call.
//! 4. One piece of work that fails does not take its neighbours with it.

mod batch;
mod group;
mod guarded;
mod judge;
mod rotate;
mod touch;

use std::{collections::HashSet, ops::Range, sync::Arc};

use session_process::store::{Change, Outcome, SessionKey, StoreError, Touch};
use tokio::sync::oneshot;

use self::group::Group;
use crate::{
    changes::Notices,
    connection::{Client, Connector, Link, Prepared, Statement, prepare},
    error::store_error,
    listener::{Kind, Node, Own},
    names::Names,
    queue::{Queue, Serves},
    row,
};

/// Pieces of work that go together at most: a bound on how long the first of them waits for the last.
const TOGETHER: usize = 1024;

/// How often what took too long is tried again in halves, where no row is to blame.
const PATIENCE: usize = 3;

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
    held: Statement,
}

impl Prepared for Statements {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, tokio_postgres::Error> {
        let prepare = |sql| prepare(client, names, sql);
        let (save, save_one, edit, create, delete, touch, load, of_users, both, rotate, lock, take_away, fence, held) =
            tokio::try_join!(
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
                prepare("DELETE FROM {session} WHERE key = ANY($1::bytea[])"),
                prepare(include_str!("../../sql/lock_fence.sql")),
                prepare(include_str!("../../sql/held.sql")),
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
            held,
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
            let mut commits = Vec::with_capacity(work.len());
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
        let mut patience = PATIENCE;
        // What is to be written together. Where that fails by the fault of some, the others are written without them:
        // halves of it, and halves of those. In their order, so that the changes of one key keep theirs.
        let mut waiting: Vec<Range<usize>> = std::iter::once(0..group.calls()).collect();
        while let Some(calls) = waiting.pop() {
            let Err(error) = self.group(&mut group, calls.clone()).await else {
                continue;
            };
            let all = calls.start..group.calls();
            match error {
                // The database's affair, and nobody's change is at fault; or it hangs, and to ask for each of them
                // again would take as long once more.
                StoreError::Unavailable { .. } | StoreError::Overloaded => group.fail(all, &error),
                _ if self.link.is_down() => group.fail(all, &error),
                _ if calls.len() == 1 => group.fail(calls, &error),
                // Somebody's lock, probably. Those who wait for it have waited for as long as they may.
                StoreError::Timeout { .. } => match self.fail_held(&mut group, calls.clone()).await {
                    Ok(true) => waiting.push(calls),
                    Ok(false) if patience > 0 => {
                        patience -= 1;
                        waiting.extend(halves(calls));
                    }
                    // Few of many by now. Or somebody holds the whole table; then the rest follows, without halves.
                    Ok(false) => group.fail(calls, &error),
                    Err(error) => group.fail(all, &error),
                },
                _ => waiting.extend(halves(calls)),
            }
        }
        group.answer();
    }

    /// What is open of these calls.
    async fn group(&mut self, group: &mut Group, calls: Range<usize>) -> Result<(), StoreError> {
        let done = self.rounds(group, calls).await;
        if done.is_err() {
            self.in_doubt();
            // It may be in the midst of a transaction.
            self.roll_back().await;
        }
        done
    }

    /// Fails what concerns sessions whose rows somebody else holds. `false`: there is no such thing.
    async fn fail_held(&mut self, group: &mut Group, calls: Range<usize>) -> Result<bool, StoreError> {
        let open = group.open(calls);
        let limit = self.link.connector.timeout;
        let held = tokio::time::timeout(limit, self.held(group, &open)).await;
        let held = held.unwrap_or_else(|_| Err(self.too_late()))?;
        for index in &held {
            group.fail_change(*index, StoreError::Timeout { context: "commit" });
        }
        Ok(!held.is_empty())
    }

    /// Those of these changes that concern a row that somebody else holds: of one of their keys, or of a session that
    /// has to go for them.
    async fn held(&mut self, group: &Group, open: &[usize]) -> Result<Vec<usize>, StoreError> {
        let mut concerned = self.victims(group, open).await?;
        for index in open {
            concerned.extend(group::keys(group.change(*index)).map(|key| (*index, key)));
        }
        let keys: Vec<&[u8]> = concerned.iter().map(|(_, key)| &key.as_bytes()[..]).collect();
        let (client, statements) = self.link.ready().await?;
        let rows = client.query(&statements.held, &[&keys]).await;
        let rows = rows.map_err(|error| store_error("commit", error))?;
        let held: HashSet<SessionKey> = rows.iter().map(|row| row::key(row, 0)).collect::<Result<_, _>>()?;
        concerned.retain(|(_, key)| held.contains(key));
        Ok(concerned.into_iter().map(|(index, _)| index).collect())
    }

    /// What was asked took too long.
    fn too_late(&mut self) -> StoreError {
        self.link.give_up();
        StoreError::Timeout { context: "commit" }
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

/// The second half, and the first, which is to be taken first.
fn halves(calls: Range<usize>) -> [Range<usize>; 2] {
    let half = calls.start + calls.len() / 2;
    [half..calls.end, calls.start..half]
}
