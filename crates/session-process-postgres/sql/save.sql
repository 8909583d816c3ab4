-- The edits that there are most of: state, attributes, an access. As edit.sql, with fewer columns.
WITH changed AS (
    UPDATE {session} AS s SET
        version = g.next,
        born = CASE WHEN g.next & 65535 = 0 AND g.attributes IS NOT NULL THEN g.next ELSE s.born END,
        accessed_at = greatest(s.accessed_at, g.accessed_at),
        ends_at = {touched_end},
        {edited_state}
    FROM (
        SELECT u.*, {next} AS next
        FROM unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::int[], $7::bigint[], $8::text[], $9::bigint[],
                    $10::text[], $11::bigint[], $12::bytea[])
            AS u (key, version, epoch, sets, accessed_at, attributes, attributes_end, kind, schema, snapshot)) AS g
    WHERE s.key = g.key AND s.version = g.version AND (g.epoch IS NULL OR s.epoch = g.epoch)
      AND {editable_until} > ({now})
    RETURNING s.key, s.version
), {told}
SELECT key, version, (SELECT count(*) FROM told) FROM changed
