-- New sessions. One that has expired gives way to the new one; what is not returned has a live session under its key.
WITH t AS MATERIALIZED ({now}), created AS (
    INSERT INTO {session} AS s (key, version, born, created_at, accessed_at, expires_at, idle_timeout, ends_at,
        sweep_at, attributes_end, user_id, group_id, label, attributes, snapshot_kind, snapshot_schema, snapshot)
    SELECT g.key, g.first, g.first, t.now, t.now, g.expires_at, g.idle_timeout, {created_end}, {created_end},
        g.attributes_end, g.user_id, g.group_id, g.label, g.attributes, g.kind, g.schema, g.snapshot
    FROM t, (
        SELECT u.*, nextval({sequence_literal}) << 16 AS first
        FROM unnest($3::bytea[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text[],
                    $10::bigint[], $11::text[], $12::bigint[], $13::bytea[])
            AS u (key, user_id, group_id, label, expires_at, idle_timeout, attributes, attributes_end, kind, schema,
                  snapshot)) AS g
    ON CONFLICT (key) DO UPDATE SET
        version = excluded.version, born = excluded.born, epoch = 0, first_key = NULL, created_at = excluded.created_at,
        accessed_at = excluded.accessed_at, expires_at = excluded.expires_at, idle_timeout = excluded.idle_timeout,
        ends_at = excluded.ends_at, sweep_at = excluded.sweep_at, attributes_end = excluded.attributes_end,
        user_id = excluded.user_id, group_id = excluded.group_id, label = excluded.label,
        attributes = excluded.attributes, snapshot_kind = excluded.snapshot_kind,
        snapshot_schema = excluded.snapshot_schema, snapshot = excluded.snapshot
        WHERE s.ends_at <= (SELECT now FROM t)
    RETURNING s.key, s.version
), changed AS (SELECT key, version, {part_of_rows} FROM created), {parts}
