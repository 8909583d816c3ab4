-- Edits of many sessions. A row is changed only at the version that the edit was made for; what is not returned was
-- not changed. `sets` says which of the columns are to be set.
WITH changed AS (
    UPDATE {session} AS s SET
        version = g.next,
        born = CASE WHEN g.next & 65535 = 0 AND g.attributes IS NOT NULL THEN g.next ELSE s.born END,
        epoch = coalesce(g.new_epoch, s.epoch),
        user_id = CASE WHEN g.sets & 1 <> 0 THEN g.user_id ELSE s.user_id END,
        group_id = CASE WHEN g.sets & 2 <> 0 THEN g.group_id ELSE s.group_id END,
        label = CASE WHEN g.sets & 4 <> 0 THEN g.label ELSE s.label END,
        expires_at = CASE WHEN g.sets & 8 <> 0 THEN g.expires_at ELSE s.expires_at END,
        idle_timeout = CASE WHEN g.sets & 8 <> 0 THEN g.idle_timeout ELSE s.idle_timeout END,
        accessed_at = greatest(s.accessed_at, g.accessed_at),
        ends_at = {edited_end},
        sweep_at = least(s.sweep_at, {edited_end}),
        {edited_state}
    FROM (
        SELECT u.*, {next} AS next
        FROM unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::int[], $8::text[], $9::text[],
                    $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::bigint[], $16::text[],
                    $17::bigint[], $18::bytea[])
            WITH ORDINALITY AS u (key, version, epoch, new_epoch, sets, user_id, group_id, label, expires_at,
                                  idle_timeout, accessed_at, attributes, attributes_end, kind, schema, snapshot,
                                  nth)) AS g
    WHERE s.key = g.key AND s.version = g.version AND (g.epoch IS NULL OR s.epoch = g.epoch)
      AND {editable_until} > ({now})
    RETURNING s.key, s.version, {part}
), {parts}
