//! The connections that read. What waits is read together: one statement for the keys of many callers.
//!
//! # Invariants
//! 1. All readers serve one queue. A reader whose connection is away leaves it to the others, so nobody is refused by
//!    one whose neighbour could answer.
//! 2. When all of them are away, callers are refused at once, until one is back.

use std::{collections::HashMap, sync::Arc};

use session_process::store::{Owner, Record, SessionKey, StoreError};
use tokio::sync::{oneshot, watch};
use tokio_postgres::Row;

use crate::{
    connection::{Client, Connector, Link, Prepared, Statement, prepare},
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
    Locate(FirstKeys, oneshot::Sender<Result<Vec<Option<SessionKey>>, StoreError>>),
}

impl Read {
    fn refuse(self, error: StoreError) {
        // An error: whoever asked has gone.
        match self {
            Self::Load(_, reply) => drop(reply.send(Err(error))),
            Self::List(_, reply) => drop(reply.send(Err(error))),
            Self::Locate(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// Keys under which sessions were created.
#[derive(Debug)]
pub(crate) struct FirstKeys(pub(crate) Vec<SessionKey>);

/// A page of an owner's records.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) owner: Owner,
    pub(crate) after: Option<SessionKey>,
    pub(crate) limit: usize,
}

struct Statements {
    load: Statement,
    locate: Statement,
    of_user: Statement,
    of_group: Statement,
    of_everyone: Statement,
}

impl Prepared for Statements {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, tokio_postgres::Error> {
        let list = include_str!("../sql/list.sql");
        let [user, group, everyone] = ["user_id = $4::text", "group_id = $4::text", "$4::text IS NULL"]
            .map(|owner| list.replace("{owner}", owner));
        let (load, locate, of_user, of_group, of_everyone) = tokio::try_join!(
            prepare(client, names, include_str!("../sql/load.sql")),
            prepare(client, names, include_str!("../sql/locate.sql")),
            prepare(client, names, &user),
            prepare(client, names, &group),
            prepare(client, names, &everyone),
        )?;
        Ok(Self {
            load,
            locate,
            of_user,
            of_group,
            of_everyone,
        })
    }
}

/// How many readers of a queue can answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Serving(watch::Sender<usize>);

/// One of them.
pub(crate) struct Place {
    serving: Serving,
    taken: bool,
}

impl Serving {
    /// Another one. It counts before it runs.
    pub(crate) fn join(&self) -> Place {
        self.0.send_modify(|count| *count += 1);
        Place {
            serving: self.clone(),
            taken: true,
        }
    }
}

impl Place {
    fn set(&mut self, taken: bool) {
        if self.taken != taken {
            self.taken = taken;
            self.serving
                .0
                .send_modify(|count| if taken { *count += 1 } else { *count -= 1 });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Reads until the queue is closed.
pub(crate) async fn run(connector: Arc<Connector>, queue: Arc<Queue<Read>>, mut place: Place) {
    let _serves = Serves(&queue);
    let mut link = Link::<Statements>::new(connector);
    let mut portion = Portion::default();
    while let Some(reads) = next(&mut link, &queue, &mut place).await {
        let mut loads = Vec::new();
        for read in reads {
            match read {
                // Whoever gave up is not asked for.
                Read::Load(keys, reply) if !reply.is_closed() => loads.push((keys, reply)),
                Read::List(page, reply) if !reply.is_closed() => match again(&mut link, &page).await {
                    Err(error) if link.is_away() => pass_on(Read::List(page, reply), error, &queue, &mut place),
                    answer => drop(reply.send(answer)),
                },
                Read::Locate(keys, reply) if !reply.is_closed() => match again(&mut link, &keys).await {
                    Err(error) if link.is_away() => pass_on(Read::Locate(keys, reply), error, &queue, &mut place),
                    answer => drop(reply.send(answer)),
                },
                _ => {}
            }
        }
        while !loads.is_empty() {
            let some = portion.of(&mut loads);
            let Err((failed, error)) = together(&mut link, some, &mut portion).await else {
                continue;
            };
            for (keys, reply) in failed {
                let read = Read::Load(keys, reply);
                if link.is_away() {
                    pass_on(read, error.clone(), &queue, &mut place);
                } else {
                    read.refuse(error.clone());
                }
            }
        }
    }
}

/// The connection went away: whoever else serves the queue is to answer.
fn pass_on(read: Read, error: StoreError, queue: &Queue<Read>, place: &mut Place) {
    place.set(false);
    if *place.serving.0.borrow() == 0 {
        return read.refuse(error);
    }
    let weight = match &read {
        Read::Load(keys, _) => keys.len(),
        Read::Locate(keys, _) => keys.0.len(),
        Read::List(..) => 1,
    };
    // An error: the queue is closed, or full. The caller learns of it by the reply that is dropped.
    let _ = queue.push(weight, read);
}

/// What is to be read next; while this reader can't, only if nobody can.
async fn next(link: &mut Link<Statements>, queue: &Queue<Read>, place: &mut Place) -> Option<Vec<Read>> {
    let mut serving = place.serving.0.subscribe();
    loop {
        place.set(!link.is_away());
        if place.taken {
            return queue.take(TOGETHER).await;
        }
        let somebody_serves = *serving.borrow_and_update() > 0;
        tokio::select! {
            biased;
            () = link.back() => {}
            _ = serving.changed() => {}
            reads = queue.take(TOGETHER), if !somebody_serves => return reads,
        }
    }
}

type Loads = Vec<(
    Vec<SessionKey>,
    oneshot::Sender<Result<Vec<Option<Record>>, StoreError>>,
)>;

/// How many records are asked for at once. How large they are is known afterwards only, so there are few at first.
#[derive(Debug)]
struct Portion {
    keys: usize,
}

impl Portion {
    /// Bytes that an answer should have at most: its rows are in memory together.
    const BYTES: usize = 16 << 20;
    /// The most keys, however small the records were: the next may be large. More would save nothing that counts.
    const KEYS: usize = 512;

    /// Those that are asked for next: one caller's in any case.
    fn of(&self, loads: &mut Loads) -> Loads {
        let mut keys = 0;
        let count = loads.iter().take_while(|(more, _)| {
            keys += more.len();
            keys <= self.keys
        });
        let count = count.count().max(1);
        loads.drain(..count).collect()
    }

    /// So many bytes came for so many keys.
    fn learn(&mut self, keys: usize, bytes: usize) {
        if bytes > Self::BYTES {
            self.keys = (keys.saturating_mul(Self::BYTES) / bytes).max(1);
        } else if keys >= self.keys && bytes <= Self::BYTES / 2 {
            self.keys = (self.keys * 2).min(Self::KEYS);
        }
    }
}

impl Default for Portion {
    fn default() -> Self {
        Self { keys: 64 }
    }
}

/// Answers them all; or none, and why.
async fn together(link: &mut Link<Statements>, loads: Loads, portion: &mut Portion) -> Result<(), (Loads, StoreError)> {
    let mut keys: Vec<SessionKey> = loads.iter().flat_map(|(keys, _)| keys).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    match in_portions(link, &keys, portion).await {
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
            Ok(())
        }
        Err(error) => Err((loads, error)),
    }
}

type Found = HashMap<SessionKey, Result<Record, StoreError>>;

async fn in_portions(
    link: &mut Link<Statements>,
    mut keys: &[SessionKey],
    portion: &mut Portion,
) -> Result<Found, StoreError> {
    let mut all = Found::new();
    while !keys.is_empty() {
        let (some, rest) = keys.split_at(portion.keys.min(keys.len()));
        let (found, bytes) = again(link, &Keys(some)).await?;
        portion.learn(some.len(), bytes);
        if rest.is_empty() && all.is_empty() {
            return Ok(found);
        }
        all.extend(found);
        keys = rest;
    }
    Ok(all)
}

/// Something that is asked of the database, and may be asked twice.
trait Question {
    type Answer;
    const CONTEXT: &'static str;
    async fn ask(&self, link: &mut Link<Statements>) -> Result<Self::Answer, StoreError>;
}

struct Keys<'a>(&'a [SessionKey]);

impl Question for Keys<'_> {
    /// And how many bytes the rows had.
    type Answer = (Found, usize);
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

impl Question for FirstKeys {
    type Answer = Vec<Option<SessionKey>>;
    const CONTEXT: &'static str = "locate";

    async fn ask(&self, link: &mut Link<Statements>) -> Result<Self::Answer, StoreError> {
        locate(link, &self.0).await
    }
}

async fn locate(link: &mut Link<Statements>, first_keys: &[SessionKey]) -> Result<Vec<Option<SessionKey>>, StoreError> {
    let shift = link.connector.clock.shift();
    let (client, statements) = link.ready().await?;
    let bytes: Vec<&[u8]> = first_keys.iter().map(|key| &key.as_bytes()[..]).collect();
    let rows = client
        .query(&statements.locate, &[&shift, &bytes])
        .await
        .map_err(|error| store_error("locate", error))?;
    let pair = |row| Ok((row::key(row, 0)?, row::key(row, 1)?));
    let found: HashMap<SessionKey, SessionKey> = rows.iter().map(pair).collect::<Result<_, StoreError>>()?;
    Ok(first_keys.iter().map(|key| found.get(key).copied()).collect())
}

async fn load(link: &mut Link<Statements>, keys: &[SessionKey]) -> Result<(Found, usize), StoreError> {
    let shift = link.connector.clock.shift();
    let (client, statements) = link.ready().await?;
    let bytes: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
    let rows = client
        .query(&statements.load, &[&shift, &bytes])
        .await
        .map_err(|error| store_error("load", error))?;
    let recent = &link.connector.recent;
    // A row that can't be read is an error for whoever asked for it, and for nobody else.
    let found = rows.iter().map(|row| {
        let record = row::record(row, With::Snapshot).inspect(|record| recent.read(record));
        Ok((row::key(row, 0)?, record))
    });
    let bytes = rows.iter().map(Row::raw_size_bytes).sum();
    Ok((found.collect::<Result<_, StoreError>>()?, bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(keys: impl IntoIterator<Item = usize>) -> Loads {
        let load = |keys| (vec![SessionKey::from_bytes([0; 32]); keys], oneshot::channel().0);
        keys.into_iter().map(load).collect()
    }

    #[test]
    fn small_records_are_asked_for_by_the_hundred_and_large_ones_by_the_few() {
        let mut portion = Portion::default();
        for _ in 0..9 {
            portion.learn(portion.keys, portion.keys * 1_000);
        }
        assert_eq!(portion.keys, Portion::KEYS);
        portion.learn(portion.keys, portion.keys * (1 << 20));
        assert_eq!(portion.keys, 16, "16 MiB of 1 MiB each");
        // One by itself says nothing about how many may go together.
        portion.learn(1, 10 << 20);
        assert_eq!(portion.keys, 16);
        portion.learn(16, 16 * 1_000);
        assert_eq!(portion.keys, 32);
        portion.learn(32, 200 * Portion::BYTES);
        assert_eq!(portion.keys, 1);
    }

    #[test]
    fn a_portion_is_of_whole_calls_and_of_one_at_least() {
        let portion = Portion { keys: 10 };
        let mut waiting = loads([4, 6, 1, 100, 2]);
        let taken: Vec<Vec<usize>> = std::iter::from_fn(|| {
            let some = (!waiting.is_empty()).then(|| portion.of(&mut waiting))?;
            Some(some.iter().map(|(keys, _)| keys.len()).collect())
        })
        .collect();
        assert_eq!(taken, [vec![4, 6], vec![1], vec![100], vec![2]]);
    }
}
