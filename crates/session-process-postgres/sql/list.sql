-- Live sessions of an owner, a page, without their snapshots.
SELECT {columns}
FROM {session} WHERE {owner} AND key > $2::bytea AND ends_at > ({now}) ORDER BY key LIMIT $3::bigint
