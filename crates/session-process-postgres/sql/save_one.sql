-- save.sql for a save that is alone, which then is done sooner: one row is found by its key, and there is nothing to
-- unfold and to gather.
UPDATE {session} AS s SET
    version = s.version + 1,
    accessed_at = greatest(s.accessed_at, g.accessed_at),
    ends_at = {touched_end},
    {edited_state}
FROM (SELECT $3::bytea AS key, $4::bigint AS version, $5::bigint AS epoch, $6::int AS sets, $7::bigint AS accessed_at,
             $8::text AS attributes, $9::bigint AS attributes_end, $10::text AS kind, $11::bigint AS schema,
             $12::bytea AS snapshot) AS g
WHERE s.key = g.key AND s.version = g.version AND (g.epoch IS NULL OR s.epoch = g.epoch)
  AND {editable_until} > {clock}
RETURNING s.key || int8send(s.version),
    pg_notify({channel_literal}, $2::text || encode(s.key || int8send(s.version), 'base64'))
