-- Takes a lock that is free, whose lease is over, or that the same holder has. The time is asked where it is judged: a
-- statement that waits for the row sees how late it has become.
INSERT INTO {lock} AS l (key, name, token, holder, ends_at)
VALUES ($2::bytea, $3::text, nextval({lock_token_literal}), $4::bytea, {clock} + $5::bigint)
ON CONFLICT (key) DO UPDATE SET
    token = CASE WHEN l.holder = excluded.holder AND l.ends_at > {clock} THEN l.token
                 ELSE nextval({lock_token_literal}) END,
    name = excluded.name, holder = excluded.holder, ends_at = {clock} + $5, awaited = false
    WHERE l.ends_at <= {clock} OR l.holder = excluded.holder
RETURNING token
