-- The edits that there are most of: state, attributes, an access. As edit.sql, with fewer columns, and not for a version
-- after which another number is drawn: what is left is a third less work for the database.
WITH changed AS (
    UPDATE {session} AS s SET
        version = s.version + 1,
        accessed_at = greatest(s.accessed_at, g.accessed_at),
        ends_at = {touched_end},
        {edited_state}
    FROM unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::int[], $7::bigint[], $8::text[], $9::bigint[],
                $10::text[], $11::bigint[], $12::bytea[])
        WITH ORDINALITY AS g (key, version, epoch, sets, accessed_at, attributes, attributes_end, kind, schema,
                              snapshot, nth)
    WHERE s.key = g.key AND s.version = g.version AND (g.epoch IS NULL OR s.epoch = g.epoch)
      AND {editable_until} > ({now})
    RETURNING s.key, s.version, {part}
), {parts}
