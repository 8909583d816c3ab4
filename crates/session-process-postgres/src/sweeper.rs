//! What has expired is removed, in slices, by one node at a time.

use std::sync::Arc;

use session_process::store::{Notice, Removed, SessionKey, StoreError, Version};
use tokio::sync::oneshot;

use crate::{
    changes::Notices,
    connection::{Client, Connector, Link, Prepared, Statement, prepare},
    error::store_error,
    listener::{Kind, Node, Own},
    names::Names,
    queue::{Queue, Serves},
    row,
};

/// Rows that one statement looks at: some milliseconds, in which others wait for none of them.
const SLICE: usize = 1_000;

pub(crate) enum Chore {
    Sweep(usize, oneshot::Sender<Result<Vec<Removed>, StoreError>>),
    /// Tell all nodes to forget what they have cached.
    Clear(oneshot::Sender<Result<(), StoreError>>),
}

struct Statements {
    sweep: Statement,
    lock: Statement,
    notify: Statement,
    clean: Statement,
}

impl Prepared for Statements {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            sweep: prepare(client, names, include_str!("../sql/sweep.sql")).await?,
            lock: prepare(client, names, "SELECT pg_try_advisory_xact_lock($1::bigint)").await?,
            notify: prepare(client, names, "SELECT pg_notify({channel_literal}, $1::text)").await?,
            clean: prepare(client, names, include_str!("../sql/lock_clean.sql")).await?,
        })
    }
}

pub(crate) struct Sweeper {
    pub(crate) connector: Arc<Connector>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) node: Node,
    pub(crate) own: Own,
}

impl Sweeper {
    /// Works until the queue is closed.
    pub(crate) async fn run(mut self, queue: Arc<Queue<Chore>>) {
        let _serves = Serves(&queue);
        let mut link = Link::<Statements>::new(Arc::clone(&self.connector));
        while let Some(chores) = queue.take(1).await {
            for chore in chores {
                match chore {
                    Chore::Sweep(limit, reply) => {
                        let mut removed = Vec::new();
                        let answer = self.sweep(&mut link, limit, &mut removed).await;
                        if answer.is_err() {
                            self.own.rename(&mut self.node);
                        }
                        // What is gone is gone, whatever came of the rest.
                        let answer = if removed.is_empty() {
                            answer.map(|()| removed)
                        } else {
                            Ok(removed)
                        };
                        let _ = reply.send(answer);
                    }
                    Chore::Clear(reply) => {
                        let cleared = self.clear(&mut link).await;
                        // An error: it may have been told all the same.
                        self.notices.tell([Notice::Lagged]);
                        let _ = reply.send(cleared);
                    }
                }
            }
        }
    }

    async fn clear(&self, link: &mut Link<Statements>) -> Result<(), StoreError> {
        let head = self.node.head(Kind::Clear);
        let tell = async {
            let (client, statements) = link.ready().await?;
            let told = client.execute(&statements.notify, &[&head]).await;
            told.map(drop).map_err(|error| store_error("clear all caches", error))
        };
        let told = tokio::time::timeout(self.connector.timeout, tell).await;
        told.unwrap_or_else(|_| {
            link.give_up();
            Err(StoreError::Timeout {
                context: "clear all caches",
            })
        })
    }

    async fn sweep(
        &self,
        link: &mut Link<Statements>,
        limit: usize,
        removed: &mut Vec<Removed>,
    ) -> Result<(), StoreError> {
        while removed.len() < limit {
            let most = (limit - removed.len()).min(SLICE);
            let patience = self.connector.timeout;
            let Ok(slice) = tokio::time::timeout(patience, self.slice(link, most)).await else {
                link.give_up();
                return Err(StoreError::Timeout {
                    context: "delete_expired",
                });
            };
            let (gone, looked_at) = match slice {
                Ok(slice) => slice,
                Err(error) => {
                    // It may be in the midst of a transaction.
                    link.give_up();
                    return Err(error);
                }
            };
            self.notices.tell(gone.iter().map(|removed| Notice::Removed {
                key: removed.key,
                version: removed.version,
            }));
            removed.extend(gone);
            if looked_at < most {
                break;
            }
        }
        Ok(())
    }

    /// What a slice removed, and how many rows it looked at. Nothing if another node is at it.
    async fn slice(&self, link: &mut Link<Statements>, most: usize) -> Result<(Vec<Removed>, usize), StoreError> {
        let fail = |error| store_error("delete_expired", error);
        let (shift, lock) = (self.connector.clock.shift(), self.connector.names.lock("sweep"));
        let head = self.node.head(Kind::Removed);
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let (client, statements) = link.ready().await?;
        client.begin().await.map_err(fail)?;
        let alone: bool = client.query_one(&statements.lock, &[&lock]).await.map_err(fail)?.get(0);
        let rows = if alone {
            client
                .query(&statements.sweep, &[&shift, &head, &limit])
                .await
                .map_err(fail)?
        } else {
            Vec::new()
        };
        if alone {
            let most = i64::try_from(SLICE).unwrap_or(i64::MAX);
            client
                .execute(&statements.clean, &[&shift, &most])
                .await
                .map_err(fail)?;
        }
        client.batch_execute("COMMIT").await.map_err(fail)?;
        let looked_at = rows.first().map_or(Ok(0), |row| row::get::<i64>(row, 4))?;
        let mut gone = Vec::with_capacity(rows.len());
        for row in &rows {
            // One row of nothing, where nothing was removed.
            if let (Some(key), Some(version)) = (row::get::<Option<&[u8]>>(row, 0)?, row::get::<Option<i64>>(row, 1)?) {
                let key = SessionKey::from_bytes(key.try_into().map_err(|_| StoreError::Corrupt {
                    what: "a key that is not 32 bytes long".to_owned(),
                })?);
                gone.push(Removed::new(key, Version(version.cast_unsigned()), row::owner(row, 2)?));
            }
        }
        Ok((gone, usize::try_from(looked_at).unwrap_or(0)))
    }
}
