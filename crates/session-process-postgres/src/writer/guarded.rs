//! Changes under a limit on how many sessions a user has, or under a lock of somebody's.
//!
//! An advisory lock for each user, held to the end of the transaction, serialises those that count: on all nodes, and no
//! others. The row of a lock is held likewise, shared, so that nobody gets the lock before what was done under it is
//! committed. Both are locked in one order, users first, so that two nodes don't lock each other out.

use std::collections::HashMap;

use session_process::store::{
    Changed, Conflict, Expect, Fence, LockKey, Notice, Op, OwnerLimit, OwnerLimitPolicy, OwnerText, Removed,
    SessionKey, StoreError, Token,
};
use tokio_postgres::Row;

use super::{
    Group, Statements, Writer,
    batch::{Batch, Failed, Heads, records, run},
    group::{fence, limit},
    judge,
};
use crate::{connection::Client, error::store_error, row};

/// How often it is tried again because somebody changed what was to be evicted.
const ATTEMPTS: usize = 50;

/// Sessions that have to go, so that there is room for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victims {
    /// Unless somebody changes them meanwhile.
    AsTheyWere,
    /// Nobody can change them meanwhile.
    Held,
}

impl Writer {
    /// Changes that have to be counted or are fenced, each key and each user once.
    pub(super) async fn guarded(&mut self, group: &mut Group, open: Vec<usize>) -> Result<(), StoreError> {
        if open.is_empty() || self.attempt(group, &open, Victims::AsTheyWere).await? {
            return Ok(());
        }
        // What is in its own way (one evicts what the other changes) goes one by one; and who is to go is held, or one
        // that is changed all the time would never go.
        for index in open {
            let mut attempts = 0;
            while group.is_awaited(index) && !self.attempt(group, &[index], Victims::Held).await? {
                attempts += 1;
                if attempts == ATTEMPTS {
                    group.fail_change(index, StoreError::Overloaded);
                    break;
                }
            }
        }
        Ok(())
    }

    /// `false`: somebody was in the way, and nothing was changed.
    async fn attempt(&mut self, group: &mut Group, open: &[usize], victims: Victims) -> Result<bool, StoreError> {
        let limit = self.link.connector.timeout;
        let done = tokio::time::timeout(limit, self.try_guarded(group, open, victims)).await;
        match done.unwrap_or_else(|_| Err(Failed::Otherwise(self.too_late()))) {
            Ok(true) => Ok(true),
            Ok(false) | Err(Failed::Collision(_)) => {
                self.roll_back().await;
                Ok(false)
            }
            Err(Failed::Otherwise(error)) => Err(error),
        }
    }

    /// The sessions that have to go for these changes, as things are: with the change that each has to go for.
    pub(super) async fn victims(
        &mut self,
        group: &Group,
        open: &[usize],
    ) -> Result<Vec<(usize, SessionKey)>, StoreError> {
        let limited = || {
            open.iter()
                .filter_map(|index| Some((*index, limit(group.change(*index))?)))
        };
        let users: Vec<&str> = limited().map(|(_, user)| user.as_str()).collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let shift = self.link.connector.clock.shift();
        let (client, statements) = self.link.ready().await?;
        let theirs = client.query(&statements.of_users, &[&shift, &users]).await;
        let by_user = by_user(&theirs.map_err(|error| store_error("commit", error))?)?;
        let mut victims = Vec::new();
        for (index, user) in limited() {
            let change = group.change(index);
            let theirs = by_user.get(user.as_str()).map_or(&[][..], Vec::as_slice);
            // What is theirs already is not counted.
            if theirs.iter().all(|other| other.key != change.key) {
                let gone = make_room(theirs, change.key, limit_of(&change.op)).unwrap_or_default();
                victims.extend(gone.into_iter().map(|removed| (index, removed.key)));
            }
        }
        Ok(victims)
    }

    async fn try_guarded(&mut self, group: &mut Group, open: &[usize], victims: Victims) -> Result<bool, Failed> {
        let connector = std::sync::Arc::clone(&self.link.connector);
        let (shift, now) = (connector.clock.shift(), connector.clock.now());
        let users: Vec<&OwnerText> = open.iter().filter_map(|index| limit(group.change(*index))).collect();
        let mut locks: Vec<i64> = users
            .iter()
            .map(|user| connector.names.lock(&format!("user {user}")))
            .collect();
        locks.sort_unstable();
        let users: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let mut keys: Vec<SessionKey> = open.iter().map(|index| group.change(*index).key).collect();
        keys.sort_unstable();
        let bytes: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
        let fences: Vec<Fence> = open.iter().filter_map(|index| fence(group.change(*index))).collect();
        let fences: Vec<&[u8]> = fences.iter().map(|fence| &fence.lock.as_bytes()[..]).collect();

        let (client, statements) = self.link.ready().await?;
        // In one piece; the server takes a new look for each statement, so the last two see what the lock waited for.
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&shift, &users];
        let found_parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&shift, &bytes];
        let lock_parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&locks];
        let fence_parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&fences];
        let (begun, locked, tokens, theirs, found) = tokio::join!(
            biased;
            client.begin(),
            unless(locks.is_empty(), client.query(&statements.lock, &lock_parameters)),
            unless(fences.is_empty(), client.query(&statements.fence, &fence_parameters)),
            unless(users.is_empty(), client.query(&statements.of_users, &parameters)),
            client.query(&statements.load, &found_parameters),
        );
        // The first error is the cause, the others follow from it.
        begun?;
        locked?;
        let tokens = tokens?.iter().map(token).collect::<Result<HashMap<_, _>, _>>()?;
        let (theirs, found) = (theirs?, records(&found?)?);
        let by_user = by_user(&theirs)?;

        let (mut evictions, mut batch) = (Batch::default(), Batch::default());
        let (mut outcomes, mut writes) = (Vec::new(), Vec::new());
        for index in open {
            let change = group.change(*index);
            let record = found.get(&change.key);
            // First: who lost the lock has nothing to read again and retry.
            if let Some(fence) = fence(change).filter(|fence| tokens.get(&fence.lock) != Some(&fence.token)) {
                outcomes.push((*index, Err(Conflict::Fence { lock: fence.lock })));
                continue;
            }
            let mut own = Batch::default();
            if let Some(outcome) = judge::by_record(change, record, &mut own, now)? {
                outcomes.push((*index, outcome));
                continue;
            }
            let before = record.and_then(|record| record.user_id.as_ref());
            let room = match limit(change) {
                Some(user) if !(matches!(change.op, Op::Edit(_)) && before == Some(user)) => {
                    let theirs = by_user.get(user.as_str()).map_or(&[][..], Vec::as_slice);
                    make_room(theirs, change.key, limit_of(&change.op))
                }
                // Not counted, or where it was.
                _ => Ok(Vec::new()),
            };
            match room {
                Err(conflict) => outcomes.push((*index, Err(conflict))),
                Ok(evicted) => {
                    let _ = judge::by_record(change, record, &mut batch, now)?;
                    writes.push((*index, change.key, evicted));
                }
            }
        }
        if victims == Victims::Held {
            let evicted = writes.iter_mut().flat_map(|(.., evicted)| evicted);
            if !hold(client, statements, shift, evicted).await? {
                return Ok(false);
            }
        }
        for removed in writes.iter().flat_map(|(.., evicted)| evicted) {
            let expect = Expect {
                version: Some(removed.version),
                epoch: None,
            };
            evictions.delete(removed.key, expect);
        }
        evictions.sort();
        batch.sort();
        let heads = Heads {
            shift,
            changed: &self.changed,
            removed: &self.removed,
        };
        let (evicted, written) = tokio::join!(
            biased;
            run(client, statements, &evictions, heads),
            run(client, statements, &batch, heads),
        );
        let (evicted, written) = (evicted?, written?);
        if evicted.versions.len() < evictions.len() || written.versions.len() < batch.len() {
            return Ok(false);
        }
        client.batch_execute("COMMIT").await?;
        evictions.remember(&evicted, &connector.recent);
        batch.remember(&written, &connector.recent);
        for (index, key, evicted) in writes {
            group.set(index, Ok(Changed::to(written.versions[&key]).with_evicted(evicted)));
        }
        for (index, outcome) in outcomes {
            group.set(index, outcome);
        }
        let notices: Vec<Notice> = evicted.notices.into_iter().chain(written.notices).collect();
        self.notices.tell(notices);
        Ok(true)
    }
}

/// Locks the rows of these sessions, in the order of their keys, and sees what versions they have now. `false`: one of
/// them is gone.
async fn hold<'a>(
    client: &Client,
    statements: &Statements,
    shift: i64,
    victims: impl Iterator<Item = &'a mut Removed>,
) -> Result<bool, Failed> {
    let victims: Vec<&mut Removed> = victims.collect();
    if victims.is_empty() {
        return Ok(true);
    }
    let keys: Vec<&[u8]> = victims.iter().map(|removed| &removed.key.as_bytes()[..]).collect();
    let rows = client.query(&statements.both, &[&shift, &keys]).await?;
    let mut held = HashMap::new();
    for row in &rows {
        let live: bool = row::get(row, 3)?;
        if live {
            held.insert(row::key(row, 0)?, row::version(row, 1)?);
        }
    }
    for removed in victims {
        match held.get(&removed.key) {
            Some(version) => removed.version = *version,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Nothing, where there is nothing to ask for.
async fn unless(
    empty: bool,
    asked: impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if empty { Ok(Vec::new()) } else { asked.await }
}

fn token(row: &Row) -> Result<(LockKey, Token), StoreError> {
    let key: &[u8] = row::get(row, 0)?;
    let key = key.try_into().map_err(|_| StoreError::Corrupt {
        what: "a lock whose key is not 32 bytes long".to_owned(),
    })?;
    Ok((
        LockKey::from_bytes(key),
        Token(row::get::<i64>(row, 1)?.cast_unsigned()),
    ))
}

/// What `of_users` found.
fn by_user(rows: &[Row]) -> Result<HashMap<String, Vec<Removed>>, StoreError> {
    let mut by_user: HashMap<String, Vec<Removed>> = HashMap::new();
    for row in rows {
        let user = row::owner(row, 2)?;
        let name = user.as_ref().map(ToString::to_string).unwrap_or_default();
        let removed = Removed::new(row::key(row, 0)?, row::version(row, 1)?, user);
        by_user.entry(name).or_default().push(removed);
    }
    Ok(by_user)
}

fn limit_of(op: &Op) -> Option<OwnerLimit> {
    match op {
        Op::Create(new) => new.limit,
        Op::Edit(edit) => edit.limit,
        _ => None,
    }
}

/// Who has to go, of a user's sessions by their last access, so that there is room for one more under `key`.
fn make_room(theirs: &[Removed], key: SessionKey, limit: Option<OwnerLimit>) -> Result<Vec<Removed>, Conflict> {
    let Some(OwnerLimit { max, policy }) = limit else {
        return Ok(Vec::new());
    };
    let others: Vec<&Removed> = theirs.iter().filter(|removed| removed.key != key).collect();
    let too_many = (others.len() + 1).saturating_sub(max.get() as usize);
    if too_many == 0 {
        return Ok(Vec::new());
    }
    if policy != OwnerLimitPolicy::EvictOldest {
        return Err(Conflict::OwnerLimit { max });
    }
    Ok(others.into_iter().take(too_many).cloned().collect())
}
