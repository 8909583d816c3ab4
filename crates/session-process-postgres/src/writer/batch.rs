//! [`Batch`]: changes as the arrays of the statements, each key once, in the order of the keys.

use std::collections::HashMap;

use session_process::{
    Timestamp,
    store::{Change, Create, Edit, Expect, Notice, Record, SessionKey, Snapshot, StoreError, Version},
};
use tokio_postgres::{Error, Row, types::ToSql};

use super::{Group, Statements, Writer, judge};
use crate::{
    attributes,
    connection::{Client, Statement},
    error::store_error,
    recent::Recent,
    row,
};

/// How often a change is judged again because somebody was quicker, before it is given up. Each time somebody else's
/// change went through.
const ATTEMPTS: usize = 200;

const USER: i32 = 1;
const GROUP: i32 = 2;
const LABEL: i32 = 4;
const LIFETIME: i32 = 8;
const SNAPSHOT: i32 = 16;

/// The arrays of one statement after the other.
#[derive(Default)]
pub(super) struct Batch {
    changes: usize,
    saves: Vec<(SessionKey, EditRow)>,
    edits: Vec<(SessionKey, EditRow)>,
    creates: Vec<CreateRow>,
    deletes: Vec<(SessionKey, Option<i64>, Option<i64>)>,
}

/// A row of `edit.sql`, or of `save.sql`, which has fewer columns.
pub(super) struct EditRow {
    version: i64,
    epoch: Option<i64>,
    sets: i32,
    accessed_at: Option<i64>,
    attributes: Option<Column>,
    snapshot: Option<Snapshot>,
    /// What a save has not.
    more: Option<Box<More>>,
}

struct More {
    new_epoch: Option<i64>,
    user_id: Option<String>,
    group_id: Option<String>,
    label: Option<String>,
    expires_at: Option<i64>,
    idle_timeout: Option<i64>,
}

/// The column `attributes` and `attributes_end`, and what they were made of.
struct Column {
    text: String,
    end: i64,
    attributes: attributes::Ordered,
}

struct CreateRow {
    key: SessionKey,
    user_id: Option<String>,
    group_id: Option<String>,
    label: Option<String>,
    expires_at: Option<i64>,
    idle_timeout: Option<i64>,
    attributes: Column,
    snapshot: Option<Snapshot>,
}

impl EditRow {
    /// For a row that is exactly this, with attributes that have their versions already.
    pub(super) fn new(expect: Expect, edit: &Edit, attributes: Option<attributes::Ordered>) -> Self {
        let mut sets = 0;
        let mut text = |new: &Option<Option<session_process::store::OwnerText>>, bit| {
            let new = new.as_ref()?;
            sets |= bit;
            new.as_ref().map(|text| text.as_str().to_owned())
        };
        let (user_id, group_id) = (text(&edit.user_id, USER), text(&edit.group_id, GROUP));
        let label = text(&edit.label, LABEL);
        if edit.lifetime.is_some() {
            sets |= LIFETIME;
        }
        if edit.snapshot.is_some() {
            sets |= SNAPSHOT;
        }
        let lifetime = edit.lifetime.unwrap_or_default();
        let new_epoch = edit.epoch.map(|epoch| epoch.0.cast_signed());
        let more = (sets & !SNAPSHOT != 0 || new_epoch.is_some()).then(|| More {
            new_epoch,
            user_id,
            group_id,
            label,
            expires_at: lifetime.expires_at.map(Timestamp::as_micros),
            idle_timeout: lifetime.idle_timeout.map(row::micros),
        });
        Self {
            version: expect.version.unwrap_or_default().0.cast_signed(),
            epoch: expect.epoch.map(|epoch| epoch.0.cast_signed()),
            sets,
            accessed_at: edit.accessed_at.map(Timestamp::as_micros),
            attributes: attributes.map(Column::new),
            snapshot: edit.snapshot.clone().flatten(),
            more: more.map(Box::new),
        }
    }

    fn is_save(&self) -> bool {
        self.more.is_none() && !judge::draws_a_number(self.version)
    }
}

impl Column {
    fn new(attributes: attributes::Ordered) -> Self {
        Self {
            text: attributes::encode(&attributes),
            end: attributes::first_end(attributes.iter().map(|(_, attribute)| attribute)).as_micros(),
            attributes,
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.saves.len() + self.edits.len() + self.creates.len() + self.deletes.len()
    }

    /// Of so many changes at most.
    pub(super) fn of(changes: usize) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }

    pub(super) fn edit(&mut self, key: SessionKey, row: EditRow) {
        let rows = if row.is_save() {
            &mut self.saves
        } else {
            &mut self.edits
        };
        if rows.is_empty() {
            // Most groups are of one kind, and rows are large: they are not to move again and again.
            rows.reserve(self.changes);
        }
        rows.push((key, row));
    }

    pub(super) fn delete(&mut self, key: SessionKey, expect: Expect) {
        let version = expect.version.map(|version| version.0.cast_signed());
        self.deletes
            .push((key, version, expect.epoch.map(|epoch| epoch.0.cast_signed())));
    }

    pub(super) fn create(&mut self, key: SessionKey, new: &Create, now: Timestamp) {
        // Which version that will be, only the database knows.
        let attributes = attributes::stamped(|_| None, &new.attributes, Version(0), now);
        self.creates.push(CreateRow {
            key,
            user_id: new.user_id.as_ref().map(|text| text.as_str().to_owned()),
            group_id: new.group_id.as_ref().map(|text| text.as_str().to_owned()),
            label: new.label.as_ref().map(|text| text.as_str().to_owned()),
            expires_at: new.lifetime.expires_at.map(Timestamp::as_micros),
            idle_timeout: new.lifetime.idle_timeout.map(row::micros),
            attributes: Column::new(attributes),
            snapshot: new.snapshot.clone(),
        });
    }

    /// After it was committed: what the next change of each record can be judged by.
    pub(super) fn remember(self, written: &Written, recent: &Recent) {
        let edits = self.saves.into_iter().chain(self.edits);
        for (key, row) in edits {
            match (written.versions.get(&key), row.attributes) {
                (Some(version), Some(column)) => recent.wrote(key, *version, column.attributes),
                (Some(version), None) => recent.moved(key, Version(row.version.cast_unsigned()), *version),
                (None, _) => recent.forget(&key),
            }
        }
        for row in self.creates {
            if let Some(version) = written.versions.get(&row.key) {
                recent.wrote(row.key, *version, row.attributes.attributes);
            }
        }
        for (key, ..) in self.deletes {
            recent.forget(&key);
        }
    }

    /// In the order of the keys: so all nodes lock rows in one order.
    pub(super) fn sort(&mut self) {
        self.saves.sort_unstable_by_key(|(key, _)| *key);
        self.edits.sort_unstable_by_key(|(key, _)| *key);
        self.creates.sort_unstable_by_key(|row| row.key);
        self.deletes.sort_unstable_by_key(|(key, ..)| *key);
    }
}

/// What was written: the version of each key, and what is to be told of it.
pub(super) struct Written {
    pub(super) versions: HashMap<SessionKey, Version>,
    pub(super) notices: Vec<Notice>,
}

impl Writer {
    /// Changes that need no counting, each key once.
    pub(super) async fn plain(&mut self, group: &mut Group, mut open: Vec<usize>) -> Result<(), StoreError> {
        let mut judged_before = false;
        for attempt in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(());
            }
            let now = self.link.connector.clock.now();
            let mut batch = Batch::of(open.len());
            let (mut waiting, mut looked_at) = (Vec::with_capacity(open.len()), Vec::new());
            for index in open {
                let change = group.change(index);
                // What somebody was quicker with is looked at.
                if judged_before || !self.without_a_look(change, &mut batch, now)? {
                    looked_at.push(index);
                } else {
                    waiting.push(index);
                }
            }
            let keys: Vec<SessionKey> = looked_at.iter().map(|index| group.change(*index).key).collect();
            let found = self.look(&keys).await?;
            for index in looked_at {
                let change = group.change(index);
                match judge::by_record(change, found.get(&change.key), &mut batch, now)? {
                    Some(outcome) => group.set(index, outcome),
                    None => waiting.push(index),
                }
            }
            open = waiting;
            if !batch.is_empty() {
                let written = match self.write(batch).await {
                    Ok(written) => written,
                    // Nothing of it was written; the same again.
                    Err(Failed::Collision(_)) if attempt + 1 < ATTEMPTS => {
                        judged_before = true;
                        continue;
                    }
                    Err(Failed::Collision(error) | Failed::Otherwise(error)) => return Err(error),
                };
                open.retain(|index| match written.versions.get(&group.change(*index).key) {
                    Some(version) => {
                        group.set(*index, Ok(session_process::store::Changed::to(*version)));
                        false
                    }
                    None => true,
                });
                self.notices.tell(written.notices);
            }
            judged_before = true;
        }
        // Theirs alone: what came with them is written.
        for index in open {
            group.fail_change(index, StoreError::Overloaded);
        }
        Ok(())
    }

    /// Puts the change into the batch, if the statement's `WHERE` is judge enough or what is known of the record is.
    fn without_a_look(&self, change: &Change, batch: &mut Batch, now: Timestamp) -> Result<bool, StoreError> {
        if judge::is_blind(change) {
            judge::blindly(change, batch, now)?;
            return Ok(true);
        }
        match self.link.connector.recent.get(&change.key) {
            Some(known) if judge::is_enough(change, &known) => {
                judge::by_known(change, &known, batch, now)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The live records under these keys.
    async fn look(&mut self, keys: &[SessionKey]) -> Result<HashMap<SessionKey, Record>, StoreError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let shift = self.link.connector.clock.shift();
        let (client, statements) = self.link.ready().await?;
        let bytes: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
        let rows = client.query(&statements.load, &[&shift, &bytes]).await;
        let rows = rows.map_err(|error| store_error("commit", error))?;
        records(&rows)
    }

    /// Writes a batch as one transaction, which is one statement if there is one kind of changes.
    async fn write(&mut self, mut batch: Batch) -> Result<Written, Failed> {
        batch.sort();
        let (changed, removed) = (self.changed.clone(), self.removed.clone());
        let shift = self.link.connector.clock.shift();
        let (client, statements) = self.link.ready().await.map_err(Failed::Otherwise)?;
        let kinds = [
            batch.saves.is_empty(),
            batch.edits.is_empty(),
            batch.creates.is_empty(),
            batch.deletes.is_empty(),
        ];
        let several = kinds.into_iter().filter(|empty| !empty).count() > 1;
        let heads = Heads {
            shift,
            changed: &changed,
            removed: &removed,
        };
        let written = client.whole(several, run(client, statements, &batch, heads)).await?;
        batch.remember(&written, &self.link.connector.recent);
        Ok(written)
    }
}

pub(super) fn records(rows: &[Row]) -> Result<HashMap<SessionKey, Record>, StoreError> {
    rows.iter()
        .map(|row| row::record(row, row::With::Snapshot).map(|record| (record.key, record)))
        .collect()
}

/// Why a batch was not written.
pub(super) enum Failed {
    /// Another transaction was in its way.
    Collision(StoreError),
    Otherwise(StoreError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let collision = crate::error::is_collision(&error);
        let error = store_error("commit", error);
        if collision {
            Self::Collision(error)
        } else {
            Self::Otherwise(error)
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Otherwise(error)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Collision(error) | Failed::Otherwise(error) => error,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    pub(super) shift: i64,
    pub(super) changed: &'a str,
    pub(super) removed: &'a str,
}

/// All statements of a batch, on the wire in one piece.
pub(super) async fn run(
    client: &Client,
    statements: &Statements,
    batch: &Batch,
    heads: Heads<'_>,
) -> Result<Written, Failed> {
    let (deleted, created, saved, edited) = tokio::join!(
        biased;
        deletes(client, &statements.delete, &batch.deletes, heads),
        creates(client, &statements.create, &batch.creates, heads),
        saves(client, statements, &batch.saves, heads),
        edits(client, &statements.edit, &batch.edits, heads),
    );
    let mut written = Written {
        versions: HashMap::with_capacity(batch.len()),
        notices: Vec::with_capacity(batch.len()),
    };
    for (rows, gone) in [(deleted?, true), (created?, false), (saved?, false), (edited?, false)] {
        for row in &rows {
            for (key, version) in row::entries(row, 0).map_err(Failed::Otherwise)? {
                written.versions.insert(key, version);
                written.notices.push(if gone {
                    Notice::Removed { key, version }
                } else {
                    Notice::Changed { key, version }
                });
            }
        }
    }
    Ok(written)
}

async fn deletes(
    client: &Client,
    statement: &Statement,
    rows: &[(SessionKey, Option<i64>, Option<i64>)],
    heads: Heads<'_>,
) -> Result<Vec<Row>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&[u8]> = rows.iter().map(|(key, ..)| &key.as_bytes()[..]).collect();
    let versions = sparse(rows.iter().map(|(_, version, _)| *version));
    let epochs = sparse(rows.iter().map(|(.., epoch)| *epoch));
    client
        .query(statement, &[&heads.shift, &heads.removed, &keys, &versions, &epochs])
        .await
}

async fn creates(
    client: &Client,
    statement: &Statement,
    rows: &[CreateRow],
    heads: Heads<'_>,
) -> Result<Vec<Row>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&[u8]> = rows.iter().map(|row| &row.key.as_bytes()[..]).collect();
    let users = sparse(rows.iter().map(|row| row.user_id.as_deref()));
    let groups = sparse(rows.iter().map(|row| row.group_id.as_deref()));
    let labels = sparse(rows.iter().map(|row| row.label.as_deref()));
    let expires = sparse(rows.iter().map(|row| row.expires_at));
    let idle = sparse(rows.iter().map(|row| row.idle_timeout));
    let attributes: Vec<_> = rows.iter().map(|row| row.attributes.text.as_str()).collect();
    let ends: Vec<_> = rows.iter().map(|row| row.attributes.end).collect();
    let snapshots = Snapshots::of(rows.iter().map(|row| row.snapshot.as_ref()));
    client
        .query(
            statement,
            &[
                &heads.shift,
                &heads.changed,
                &keys,
                &users,
                &groups,
                &labels,
                &expires,
                &idle,
                &attributes,
                &ends,
                &snapshots.kinds,
                &snapshots.schemas,
                &snapshots.bytes,
            ],
        )
        .await
}

async fn saves(
    client: &Client,
    statements: &Statements,
    rows: &[(SessionKey, EditRow)],
    heads: Heads<'_>,
) -> Result<Vec<Row>, Error> {
    match rows {
        [] => return Ok(Vec::new()),
        [(key, row)] => return save_one(client, &statements.save_one, key, row, heads).await,
        _ => {}
    }
    let columns = Columns::of(rows);
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &heads.shift,
        &heads.changed,
        &columns.keys,
        &columns.versions,
        &columns.epochs,
        &columns.sets,
        &columns.accessed,
        &columns.attributes,
        &columns.ends,
        &columns.snapshots.kinds,
        &columns.snapshots.schemas,
        &columns.snapshots.bytes,
    ];
    client.query(&statements.save, parameters).await
}

async fn save_one(
    client: &Client,
    statement: &Statement,
    key: &SessionKey,
    row: &EditRow,
    heads: Heads<'_>,
) -> Result<Vec<Row>, Error> {
    let attributes = row.attributes.as_ref();
    let snapshot = row.snapshot.as_ref();
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &heads.shift,
        &heads.changed,
        &&key.as_bytes()[..],
        &row.version,
        &row.epoch,
        &row.sets,
        &row.accessed_at,
        &attributes.map(|column| column.text.as_str()),
        &attributes.map(|column| column.end),
        &snapshot.map(|snapshot| &*snapshot.kind),
        &snapshot.map(|snapshot| i64::from(snapshot.schema)),
        &snapshot.map(|snapshot| &*snapshot.bytes),
    ];
    client.query(statement, parameters).await
}

async fn edits(
    client: &Client,
    statement: &Statement,
    rows: &[(SessionKey, EditRow)],
    heads: Heads<'_>,
) -> Result<Vec<Row>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let columns = Columns::of(rows);
    let rows = || rows.iter().map(|(_, row)| row);
    let more = || rows().map(|row| row.more.as_deref());
    let new_epochs = sparse(more().map(|more| more?.new_epoch));
    let users = sparse(more().map(|more| more?.user_id.as_deref()));
    let groups = sparse(more().map(|more| more?.group_id.as_deref()));
    let labels = sparse(more().map(|more| more?.label.as_deref()));
    let expires = sparse(more().map(|more| more?.expires_at));
    let idle = sparse(more().map(|more| more?.idle_timeout));
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &heads.shift,
        &heads.changed,
        &columns.keys,
        &columns.versions,
        &columns.epochs,
        &new_epochs,
        &columns.sets,
        &users,
        &groups,
        &labels,
        &expires,
        &idle,
        &columns.accessed,
        &columns.attributes,
        &columns.ends,
        &columns.snapshots.kinds,
        &columns.snapshots.schemas,
        &columns.snapshots.bytes,
    ];
    client.query(statement, parameters).await
}

/// What saves and edits have in common.
struct Columns<'a> {
    keys: Vec<&'a [u8]>,
    versions: Vec<i64>,
    epochs: Sparse<i64>,
    sets: Vec<i32>,
    accessed: Sparse<i64>,
    attributes: Sparse<&'a str>,
    ends: Sparse<i64>,
    snapshots: Snapshots<'a>,
}

impl<'a> Columns<'a> {
    fn of(all: &'a [(SessionKey, EditRow)]) -> Self {
        let rows = || all.iter().map(|(_, row)| row);
        let column = |row: &'a EditRow| row.attributes.as_ref();
        Self {
            keys: all.iter().map(|(key, _)| &key.as_bytes()[..]).collect(),
            versions: rows().map(|row| row.version).collect(),
            epochs: sparse(rows().map(|row| row.epoch)),
            sets: rows().map(|row| row.sets).collect(),
            accessed: sparse(rows().map(|row| row.accessed_at)),
            attributes: sparse(rows().map(|row| column(row).map(|column| column.text.as_str()))),
            ends: sparse(rows().map(|row| column(row).map(|column| column.end))),
            snapshots: Snapshots::of(rows().map(|row| row.snapshot.as_ref())),
        }
    }
}

struct Snapshots<'a> {
    kinds: Sparse<&'a str>,
    schemas: Sparse<i64>,
    bytes: Sparse<&'a [u8]>,
}

impl<'a> Snapshots<'a> {
    fn of(snapshots: impl Iterator<Item = Option<&'a Snapshot>> + Clone) -> Self {
        let each = || snapshots.clone();
        Self {
            kinds: sparse(each().map(|snapshot| snapshot.map(|snapshot| &*snapshot.kind))),
            schemas: sparse(each().map(|snapshot| snapshot.map(|snapshot| i64::from(snapshot.schema)))),
            bytes: sparse(each().map(|snapshot| snapshot.map(|snapshot| &*snapshot.bytes))),
        }
    }
}

/// A column of which most batches have nothing.
type Sparse<T> = Option<Vec<Option<T>>>;

/// No array at all where each of its values would be NULL: `unnest` fills the column with NULL by itself, and nothing is
/// sent, read and unfolded.
fn sparse<T>(values: impl Iterator<Item = Option<T>> + Clone) -> Sparse<T> {
    values.clone().any(|value| value.is_some()).then(|| values.collect())
}
