-- Live sessions of an owner, a page, without their snapshots.
WITH t AS MATERIALIZED ({now})
SELECT {columns}
FROM {session} WHERE {owner} AND key > $2::bytea AND ends_at > (SELECT now FROM t) ORDER BY key LIMIT $3::bigint
