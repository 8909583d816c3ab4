//! The connections that read. What waits is read together: one statement for the keys of many callers.

use std::{collections::HashMap, sync::Arc};

use session_process::store::{Owner, Record, SessionKey, StoreError};
use tokio::sync::oneshot;
use tokio_postgres::{Client, Statement};

use crate::{
    connection::{Connector, Link, Prepared, prepare},
    error::store_error,
    names::Names,
    queue::{Queue, Serves},
    row::{self, With},
};

/// Pieces of work that one connection takes together: enough that their common costs vanish, few enough that the
/// other connections find some too.
const TOGETHER: usize = 256;

pub(crate) enum Read {
    Load(
        Vec<SessionKey>,
        oneshot::Sender<Result<Vec<Option<Record>>, StoreError>>,
    ),
    List(Page, oneshot::Sender<Result<Vec<Record>, StoreError>>),
}

/// A page of an owner's records.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) owner: Owner,
    pub(crate) after: Option<SessionKey>,
    pub(crate) limit: usize,
}

struct Statements {
    load: Statement,
    of_user: Statement,
    of_group: Statement,
    of_everyone: Statement,
}

impl Prepared for Statements {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, tokio_postgres::Error> {
        let list = include_str!("../sql/list.sql");
        let [user, group, everyone] = ["user_id = $4::text", "group_id = $4::text", "$4::text IS NULL"]
            .map(|owner| list.replace("{owner}", owner));
        let (load, of_user, of_group, of_everyone) = tokio::try_join!(
            prepare(client, names, include_str!("../sql/load.sql")),
            prepare(client, names, &user),
            prepare(client, names, &group),
            prepare(client, names, &everyone),
        )?;
        Ok(Self {
            load,
            of_user,
            of_group,
            of_everyone,
        })
    }
}

/// Reads until the queue is closed.
pub(crate) async fn run(connector: Arc<Connector>, queue: Arc<Queue<Read>>) {
    let _serves = Serves(&queue);
    let mut link = Link::<Statements>::new(connector);
    while let Some(reads) = queue.take(TOGETHER).await {
        let mut loads = Vec::new();
        for read in reads {
            match read {
                // Whoever gave up is not asked for.
                Read::Load(keys, reply) if !reply.is_closed() => loads.push((keys, reply)),
                Read::List(page, reply) if !reply.is_closed() => {
                    let answer = again(&mut link, &page).await;
                    let _ = reply.send(answer);
                }
                _ => {}
            }
        }
        if !loads.is_empty() {
            together(&mut link, loads).await;
        }
    }
}

type Loads = Vec<(
    Vec<SessionKey>,
    oneshot::Sender<Result<Vec<Option<Record>>, StoreError>>,
)>;

async fn together(link: &mut Link<Statements>, loads: Loads) {
    let mut keys: Vec<SessionKey> = loads.iter().flat_map(|(keys, _)| keys).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    match again(link, &Keys(&keys)).await {
        Ok(mut found) => {
            let repeated = loads.iter().map(|(keys, _)| keys.len()).sum::<usize>() > keys.len();
            for (keys, reply) in loads {
                let mut one = |key: &SessionKey| {
                    // A record is moved to whoever asked for it, unless several did.
                    let record = if repeated {
                        found.get(key).cloned()
                    } else {
                        found.remove(key)
                    };
                    record.transpose()
                };
                let _ = reply.send(keys.iter().map(&mut one).collect());
            }
        }
        Err(error) => {
            for (_, reply) in loads {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

/// Something that is asked of the database, and may be asked twice.
trait Question {
    type Answer;
    const CONTEXT: &'static str;
    async fn ask(&self, link: &mut Link<Statements>) -> Result<Self::Answer, StoreError>;
}

struct Keys<'a>(&'a [SessionKey]);

impl Question for Keys<'_> {
    type Answer = HashMap<SessionKey, Result<Record, StoreError>>;
    const CONTEXT: &'static str = "load";

    async fn ask(&self, link: &mut Link<Statements>) -> Result<Self::Answer, StoreError> {
        load(link, self.0).await
    }
}

impl Question for Page {
    type Answer = Vec<Record>;
    const CONTEXT: &'static str = "list";

    async fn ask(&self, link: &mut Link<Statements>) -> Result<Self::Answer, StoreError> {
        list(link, self).await
    }
}

/// Asks, and once more on a new connection if the old one was lost meanwhile.
async fn again<Q: Question>(link: &mut Link<Statements>, question: &Q) -> Result<Q::Answer, StoreError> {
    let limit = link.connector.timeout;
    for last in [false, true] {
        match tokio::time::timeout(limit, question.ask(link)).await {
            Ok(Err(StoreError::Unavailable { .. })) if !last && link.lost() => {}
            Ok(answer) => return answer,
            Err(_) => {
                link.give_up();
                break;
            }
        }
    }
    Err(StoreError::Timeout { context: Q::CONTEXT })
}

async fn load(
    link: &mut Link<Statements>,
    keys: &[SessionKey],
) -> Result<HashMap<SessionKey, Result<Record, StoreError>>, StoreError> {
    let shift = link.connector.clock.shift();
    let (client, statements) = link.ready().await?;
    let bytes: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
    let rows = client
        .query(&statements.load, &[&shift, &bytes])
        .await
        .map_err(|error| store_error("load", error))?;
    // A row that can't be read is an error for whoever asked for it, and for nobody else.
    rows.iter()
        .map(|row| Ok((row::key(row, 0)?, row::record(row, With::Snapshot))))
        .collect()
}

async fn list(link: &mut Link<Statements>, page: &Page) -> Result<Vec<Record>, StoreError> {
    let shift = link.connector.clock.shift();
    let (client, statements) = link.ready().await?;
    let (statement, owner) = match &page.owner {
        Owner::User(user) => (&statements.of_user, Some(user.as_str())),
        Owner::Group(group) => (&statements.of_group, Some(group.as_str())),
        Owner::Everyone => (&statements.of_everyone, None),
        // A kind of owner that this version knows nothing of has no sessions here.
        _ => return Ok(Vec::new()),
    };
    let after: &[u8] = page.after.as_ref().map_or(&[], |key| key.as_bytes());
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let rows = client
        .query(statement, &[&shift, &after, &limit, &owner])
        .await
        .map_err(|error| store_error("list", error))?;
    rows.iter().map(|row| row::record(row, With::NoSnapshot)).collect()
}
