//! An access: the last one moves forward, and with it the end of an idle session.

use rusqlite::{Connection, params};
use session_process::{Timestamp, store::Touch};

/// One statement, and no index is touched: `sweep_at` stays behind, and the sweep catches up with it.
pub(super) fn touch(connection: &Connection, touch: &Touch, now: Timestamp) -> rusqlite::Result<()> {
    // The same sum as `Lifetime::ends`. SQLite makes a float of an integer that overflows, so it must not.
    const SQL: &str = "
        UPDATE session SET
            accessed_at = ?2,
            ends_at = min(
                coalesce(expires_at, 9223372036854775807),
                CASE WHEN idle_timeout IS NULL OR idle_timeout > 9223372036854775807 - max(?2, 0)
                     THEN 9223372036854775807 ELSE ?2 + idle_timeout END)
        WHERE key = ?1 AND accessed_at < ?2 AND ends_at > ?3";
    connection
        .prepare_cached(SQL)?
        .execute(params![
            touch.key.as_bytes(),
            touch.accessed_at.as_micros(),
            now.as_micros()
        ])
        .map(drop)
}
