//! Sessions move to other keys, many in one transaction.

use std::collections::HashMap;

use session_process::store::{Change, Changed, Conflict, Epoch, Notice, Op, SessionKey, StoreError, Version};

use super::{Group, Writer, batch::Failed, group::keys};
use crate::row;

/// How often it is tried again because something came to a new key just then.
const ATTEMPTS: usize = 20;

/// A session that moves.
struct Move {
    index: usize,
    from: SessionKey,
    /// The one that it has before.
    version: Version,
    to: SessionKey,
}

impl Writer {
    /// Rotations of which no two concern one key.
    pub(super) async fn rotate(&mut self, group: &mut Group, open: &[usize]) -> Result<(), StoreError> {
        let mut attempt = 0;
        let limit = self.link.connector.timeout;
        loop {
            attempt += 1;
            let done = tokio::time::timeout(limit, self.try_rotate(group, open)).await;
            match done.unwrap_or_else(|_| Err(Failed::Otherwise(self.too_late()))) {
                Err(Failed::Collision(_)) if attempt < ATTEMPTS => self.roll_back().await,
                other => return other.map_err(StoreError::from),
            }
        }
    }

    async fn try_rotate(&mut self, group: &mut Group, open: &[usize]) -> Result<(), Failed> {
        if open.is_empty() {
            return Ok(());
        }
        let shift = self.link.connector.clock.shift();
        let mut keys: Vec<SessionKey> = open.iter().flat_map(|index| keys(group.change(*index))).collect();
        keys.sort_unstable();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
        let (client, statements) = self.link.ready().await.map_err(Failed::Otherwise)?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&shift, &keys];
        let (begun, rows) = tokio::join!(
            biased;
            client.begin(),
            client.query(&statements.both, &parameters),
        );
        begun?;
        let mut found = HashMap::new();
        for row in rows? {
            let end = End::read(&row).map_err(Failed::Otherwise)?;
            found.insert(end.key, end);
        }
        let (mut moves, mut conflicts, mut expired) = (Vec::new(), Vec::new(), Vec::new());
        for index in open {
            let change = group.change(*index);
            let Op::Rotate(to) = change.op else { continue };
            match judge(change, found.get(&change.key), found.get(&to)) {
                Ok(version) => {
                    if found.contains_key(&to) {
                        expired.push(to);
                    }
                    moves.push(Move {
                        index: *index,
                        from: change.key,
                        version,
                        to,
                    });
                }
                Err(conflict) => conflicts.push((*index, conflict)),
            }
        }
        let mut new: HashMap<SessionKey, Version> = HashMap::new();
        if !expired.is_empty() {
            let expired: Vec<&[u8]> = expired.iter().map(|key| &key.as_bytes()[..]).collect();
            client.execute(&statements.take_away, &[&expired]).await?;
        }
        if !moves.is_empty() {
            let from: Vec<&[u8]> = moves.iter().map(|moved| &moved.from.as_bytes()[..]).collect();
            let to: Vec<&[u8]> = moves.iter().map(|moved| &moved.to.as_bytes()[..]).collect();
            let versions: Vec<i64> = moves.iter().map(|moved| moved.version.0.cast_signed()).collect();
            let rows = client
                .query(&statements.rotate, &[&self.moved, &self.changed, &from, &to, &versions])
                .await?;
            for row in &rows {
                new.extend(row::entries(row, 0).map_err(Failed::Otherwise)?);
            }
        }
        if new.len() < moves.len() {
            let error = "a row that was locked was not there; this is an error of the store";
            return Err(Failed::Otherwise(StoreError::failed("commit", error)));
        }
        client.batch_execute("COMMIT").await?;
        let mut notices = Vec::with_capacity(2 * moves.len());
        for Move {
            index,
            from,
            version,
            to,
        } in moves
        {
            let new = new[&to];
            self.link.connector.recent.forget(&from);
            group.set(index, Ok(Changed::to(new)));
            notices.push(Notice::Moved { key: from, version, to });
            notices.push(Notice::Changed { key: to, version: new });
        }
        for (index, conflict) in conflicts {
            group.set(index, Err(conflict));
        }
        self.notices.tell(notices);
        Ok(())
    }
}

/// The version that the session has which is to move; or why it may not, by what lies under its two keys.
fn judge(change: &Change, from: Option<&End>, to: Option<&End>) -> Result<Version, Conflict> {
    let from = from.filter(|end| end.live).ok_or(Conflict::Missing)?;
    if change.expect.epoch.is_some_and(|epoch| epoch != from.epoch) {
        return Err(Conflict::Epoch { epoch: from.epoch });
    }
    if change.expect.version.is_some_and(|version| version != from.version) {
        return Err(Conflict::Version {
            version: from.version,
            record: None,
        });
    }
    if to.is_some_and(|end| end.live) {
        return Err(Conflict::Exists);
    }
    Ok(from.version)
}

/// What lies under one of the two keys.
struct End {
    key: SessionKey,
    version: Version,
    epoch: Epoch,
    live: bool,
}

impl End {
    fn read(row: &tokio_postgres::Row) -> Result<Self, StoreError> {
        Ok(Self {
            key: row::key(row, 0)?,
            version: row::version(row, 1)?,
            epoch: Epoch(row::get::<i64>(row, 2)?.cast_unsigned()),
            live: row::get(row, 3)?,
        })
    }
}
