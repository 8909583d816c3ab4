//! The connection that locks go through; made when the first one is asked for.
//!
//! # Invariants
//! 1. A lease is judged and begun by the database's clock, as it is when the row is changed: never by a node's.
//! 2. What waits goes out in one piece, each a statement of its own (behind a pooler, a transaction of its own with the
//!    store's settings), so one that fails is nobody else's affair.

use std::{sync::Arc, time::Duration};

use session_process::store::{Acquired, BoxFuture, Holder, LockKey, LockName, LockStore, StoreError, Token};
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    task::JoinSet,
};
use tokio_postgres::{Error, Row};

use crate::{
    PostgresStore,
    changes::Notices,
    client::Parameters,
    connection::{Client, Connector, Link, Prepared, Statement, prepare},
    error::{is_collision, store_error},
    listener::{Kind, Node},
    names::Names,
    queue::{Queue, Serves},
    row,
    store::lost,
};

/// What goes out together.
const TOGETHER: usize = 256;
/// What may wait: somebody waits for each of them.
pub(crate) const WAITING: usize = 100_000;
/// How often it is tried to take what was given up just then, and what collided with another's.
const ATTEMPTS: usize = 10;

pub(crate) struct Ask {
    what: What,
    reply: oneshot::Sender<Result<Answer, StoreError>>,
}

enum What {
    Acquire(LockName, Holder, Duration),
    Renew(LockKey, Holder, Duration),
    Release(LockKey, Holder),
}

enum Answer {
    Acquired(Acquired),
    Done(bool),
}

#[derive(Clone)]
struct Statements {
    acquire: Statement,
    wait: Statement,
    renew: Statement,
    release: Statement,
}

impl Prepared for Statements {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, Error> {
        let (acquire, wait, renew, release) = tokio::try_join!(
            prepare(client, names, include_str!("../sql/lock_acquire.sql")),
            prepare(client, names, include_str!("../sql/lock_await.sql")),
            prepare(client, names, include_str!("../sql/lock_renew.sql")),
            prepare(client, names, include_str!("../sql/lock_release.sql")),
        )?;
        Ok(Self {
            acquire,
            wait,
            renew,
            release,
        })
    }
}

pub(crate) struct Locker {
    pub(crate) connector: Arc<Connector>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) node: Node,
}

impl Locker {
    /// Works until the queue is closed and empty.
    pub(crate) async fn run(self, queue: Arc<Queue<Ask>>) {
        let _serves = Serves(&queue);
        let shared = Arc::new(Shared {
            head: self.node.head(Kind::Freed),
            connector: Arc::clone(&self.connector),
            notices: self.notices,
        });
        let mut link = Link::<Statements>::new(self.connector);
        while let Some(asks) = queue.take(TOGETHER).await {
            let (client, statements) = match link.ready().await {
                Ok((client, statements)) => (Arc::clone(client), statements.clone()),
                Err(error) => {
                    for ask in asks {
                        let _ = ask.reply.send(Err(error.clone()));
                    }
                    continue;
                }
            };
            // Beside each other: what waits for a row doesn't hold up the next ones longer than the database does.
            let mut under_way = JoinSet::new();
            for ask in asks {
                let (client, statements, shared) = (Arc::clone(&client), statements.clone(), Arc::clone(&shared));
                under_way.spawn(async move {
                    let answer = shared.answer(&client, &statements, ask.what).await;
                    let hangs = matches!(answer, Err(StoreError::Timeout { context: HANGS }));
                    let _ = ask.reply.send(answer);
                    hangs
                });
            }
            while let Some(hangs) = under_way.join_next().await {
                if hangs.unwrap_or(true) {
                    link.give_up();
                }
            }
        }
    }
}

/// The context of what was given up, where the connection is at something nobody knows.
const HANGS: &str = "lock";

struct Shared {
    connector: Arc<Connector>,
    notices: Arc<Notices>,
    head: String,
}

impl Shared {
    async fn answer(&self, client: &Client, statements: &Statements, what: What) -> Result<Answer, StoreError> {
        let given_up = match &what {
            What::Release(key, _) => Some(*key),
            _ => None,
        };
        let asked = tokio::time::timeout(self.connector.timeout, async {
            match what {
                What::Acquire(name, holder, lease) => {
                    let acquired = self.acquire(client, statements, &name, holder, lease).await;
                    acquired.map(Answer::Acquired)
                }
                What::Renew(key, holder, lease) => {
                    let renewed = self.renew(client, statements, key, holder, lease).await;
                    renewed
                        .map(Answer::Done)
                        .map_err(|error| store_error("renew a lock", error))
                }
                What::Release(key, holder) => {
                    let released = self.release(client, statements, key, holder).await;
                    released
                        .map(Answer::Done)
                        .map_err(|error| store_error("release a lock", error))
                }
            }
        });
        let answer = asked.await.unwrap_or(Err(StoreError::Timeout { context: HANGS }));
        if let (Some(key), Err(_)) = (given_up, &answer) {
            // It may be free all the same. Whoever waits here asks for it in vain if not.
            self.notices.freed(key);
        }
        answer
    }

    async fn acquire(
        &self,
        client: &Client,
        statements: &Statements,
        name: &LockName,
        holder: Holder,
        lease: Duration,
    ) -> Result<Acquired, StoreError> {
        let fail = |error| store_error("take a lock", error);
        let key = name.key();
        for _ in 0..ATTEMPTS {
            let shift = self.connector.clock.shift();
            let parameters: Parameters<'_> = &[
                &shift,
                &&key.as_bytes()[..],
                &name.label(),
                &&holder.as_bytes()[..],
                &row::micros(lease),
            ];
            let acquire = client.query_opt(&statements.acquire, parameters);
            match client.whole(false, acquire).await {
                Ok(Some(row)) => return Ok(Acquired::Held(token(&row)?)),
                Ok(None) => {}
                Err(error) if is_collision(&error) => continue,
                Err(error) => return Err(fail(error)),
            }
            let parameters: Parameters<'_> = &[&shift, &&key.as_bytes()[..]];
            match client
                .whole(false, client.query_opt(&statements.wait, parameters))
                .await
            {
                Ok(Some(row)) => {
                    let remaining: i64 = row::get(&row, 0)?;
                    let remaining = Duration::from_micros(u64::try_from(remaining).unwrap_or(0));
                    return Ok(Acquired::Busy { remaining });
                }
                // It was given up in between.
                Ok(None) => {}
                Err(error) if is_collision(&error) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(Acquired::Busy {
            remaining: Duration::ZERO,
        })
    }

    async fn renew(
        &self,
        client: &Client,
        statements: &Statements,
        key: LockKey,
        holder: Holder,
        lease: Duration,
    ) -> Result<bool, Error> {
        let shift = self.connector.clock.shift();
        let lease = row::micros(lease);
        let parameters: Parameters<'_> = &[&shift, &&key.as_bytes()[..], &&holder.as_bytes()[..], &lease];
        let renew = || client.whole(false, client.execute(&statements.renew, parameters));
        Ok(again(renew).await? > 0)
    }

    async fn release(
        &self,
        client: &Client,
        statements: &Statements,
        key: LockKey,
        holder: Holder,
    ) -> Result<bool, Error> {
        let shift = self.connector.clock.shift();
        let parameters: Parameters<'_> = &[&shift, &&key.as_bytes()[..], &&holder.as_bytes()[..], &self.head];
        let release = || client.whole(false, client.query_one(&statements.release, parameters));
        let freed: i64 = again(release).await?.get(0);
        if freed > 0 {
            // The notification is for the other nodes.
            self.notices.freed(key);
        }
        Ok(freed > 0)
    }
}

/// What collided with another's is asked again.
async fn again<T, F: Future<Output = Result<T, Error>>>(ask: impl Fn() -> F) -> Result<T, Error> {
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(error) if is_collision(&error) => {}
            outcome => return outcome,
        }
    }
    ask().await
}

fn token(row: &Row) -> Result<Token, StoreError> {
    Ok(Token(row::get::<i64>(row, 0)?.cast_unsigned()))
}

impl PostgresStore {
    async fn ask(&self, what: What) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.ask_locks(Ask { what, reply }, answer).await
    }

    async fn done(&self, what: What) -> Result<bool, StoreError> {
        match self.ask(what).await? {
            Answer::Done(done) => Ok(done),
            Answer::Acquired(_) => Err(lost()),
        }
    }
}

impl LockStore for PostgresStore {
    fn acquire<'a>(
        &'a self,
        name: &'a LockName,
        holder: Holder,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Acquired, StoreError>> {
        Box::pin(async move {
            match self.ask(What::Acquire(name.clone(), holder, lease)).await? {
                Answer::Acquired(acquired) => Ok(acquired),
                Answer::Done(_) => Err(lost()),
            }
        })
    }

    fn renew(&self, key: LockKey, holder: Holder, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.done(What::Renew(key, holder, lease)))
    }

    fn release(&self, key: LockKey, holder: Holder) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.done(What::Release(key, holder)))
    }

    fn freed(&self, key: LockKey) -> BoxFuture<'_, ()> {
        let mut freed = self.notices().subscribe_freed();
        Box::pin(async move {
            loop {
                match freed.recv().await {
                    Ok(other) if other != key => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        })
    }
}
