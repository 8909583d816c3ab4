//! The change that there is most of, in one statement: a process saves its state under the version that it knows.
//!
//! The row is judged and written at once, which takes half as long as to read it first. Where the statement finds
//! nothing to change, the long way says why.

use rusqlite::{Connection, params};
use session_process::{
    Timestamp,
    store::{Change, Edit, Expect, Op, Snapshot, Version},
};

/// The new version, if that was all there was to do. `None`: nothing was changed.
pub(super) fn save(connection: &Connection, change: &Change, now: Timestamp) -> rusqlite::Result<Option<Version>> {
    // The sum of `ends_at` is that of `Lifetime::ends`, and SQLite makes a float of an integer that overflows. An
    // access only moves it on, so `sweep_at` stays below it. Attributes that may expire have to be looked at.
    const SQL: &str = r#"
        UPDATE session SET
            version = ?2 + 1,
            accessed_at = max(accessed_at, ?3),
            ends_at = min(
                coalesce(expires_at, 9223372036854775807),
                CASE WHEN idle_timeout IS NULL OR idle_timeout > 9223372036854775807 - max(accessed_at, ?3, 0)
                     THEN 9223372036854775807 ELSE max(accessed_at, ?3) + idle_timeout END),
            snapshot_kind = ?4, snapshot_schema = ?5, snapshot = ?6
        WHERE key = ?1 AND version = ?2 AND ends_at > ?7 AND (?8 IS NULL OR epoch = ?8)
          AND instr(attributes, '"expires_at":') = 0"#;
    let Some((version, snapshot, accessed_at)) = of_this_kind(change) else {
        return Ok(None);
    };
    let changed = connection.prepare_cached(SQL)?.execute(params![
        change.key.as_bytes(),
        version.0.cast_signed(),
        accessed_at.map_or(i64::MIN, Timestamp::as_micros),
        &*snapshot.kind,
        snapshot.schema,
        &*snapshot.bytes,
        now.as_micros(),
        change.expect.epoch.map(|epoch| epoch.0.cast_signed()),
    ])?;
    Ok((changed == 1).then_some(Version(version.0 + 1)))
}

fn of_this_kind(change: &Change) -> Option<(Version, &Snapshot, Option<Timestamp>)> {
    let Change {
        expect: Expect {
            version: Some(version), ..
        },
        op: Op::Edit(edit),
        ..
    } = change
    else {
        return None;
    };
    let Edit {
        user_id: None,
        group_id: None,
        label: None,
        lifetime: None,
        attributes: None,
        snapshot: Some(Some(snapshot)),
        epoch: None,
        accessed_at,
        limit: _,
        fence: None,
    } = &**edit
    else {
        return None;
    };
    Some((*version, snapshot, *accessed_at))
}
