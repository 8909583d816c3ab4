//! A session moves to another key.

use session_process::store::{Changed, Conflict, Notice, Op, SessionKey, StoreError};

use super::{Group, Writer, batch::Failed};
use crate::row;

/// How often it is tried again because something came to the new key just then.
const ATTEMPTS: usize = 20;

impl Writer {
    pub(super) async fn rotate(&mut self, group: &mut Group, index: usize) -> Result<(), StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_rotate(group, index).await {
                Err(Failed::Collision(_)) if attempt < ATTEMPTS => self.roll_back().await,
                other => return other.map_err(StoreError::from),
            }
        }
    }

    async fn try_rotate(&mut self, group: &mut Group, index: usize) -> Result<(), Failed> {
        let change = group.change(index);
        let (from, Op::Rotate(to)) = (change.key, &change.op) else {
            return Ok(());
        };
        let to = *to;
        let shift = self.link.connector.clock.shift();
        let mut keys = [from, to];
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
        let mut found = Vec::new();
        for row in rows? {
            found.push(End::read(&row).map_err(Failed::Otherwise)?);
        }
        let at = |key: SessionKey| found.iter().find(|end| end.key == key);
        let conflict = match (at(from).filter(|end| end.live), at(to)) {
            (None, _) => Some(Conflict::Missing),
            (Some(end), _) if change.expect.epoch.is_some_and(|epoch| epoch != end.epoch) => {
                Some(Conflict::Epoch { epoch: end.epoch })
            }
            (Some(end), _) if change.expect.version.is_some_and(|version| version != end.version) => {
                Some(Conflict::Version {
                    version: end.version,
                    record: None,
                })
            }
            (_, Some(there)) if there.live => Some(Conflict::Exists),
            _ => None,
        };
        if let Some(conflict) = conflict {
            client.batch_execute("ROLLBACK").await?;
            group.set(index, Err(conflict));
            return Ok(());
        }
        if at(to).is_some() {
            client.execute(&statements.take_away, &[&&to.as_bytes()[..]]).await?;
        }
        let old = at(from).expect("it is live").version;
        let row = client
            .query_one(
                &statements.rotate,
                &[
                    &self.changed,
                    &&from.as_bytes()[..],
                    &&to.as_bytes()[..],
                    &self.moved,
                    &old.0.cast_signed(),
                ],
            )
            .await?;
        client.batch_execute("COMMIT").await?;
        let new = row::version(&row, 1).map_err(Failed::Otherwise)?;
        self.link.connector.recent.forget(&from);
        group.set(index, Ok(Changed::to(new)));
        self.notices.tell([
            Notice::Moved {
                key: from,
                version: old,
                to,
            },
            Notice::Changed { key: to, version: new },
        ]);
        Ok(())
    }
}

/// What lies under one of the two keys.
struct End {
    key: SessionKey,
    version: session_process::store::Version,
    epoch: session_process::store::Epoch,
    live: bool,
}

impl End {
    fn read(row: &tokio_postgres::Row) -> Result<Self, StoreError> {
        Ok(Self {
            key: row::key(row, 0)?,
            version: row::version(row, 1)?,
            epoch: session_process::store::Epoch(row::get::<i64>(row, 2)?.cast_unsigned()),
            live: row::get(row, 3)?,
        })
    }
}
