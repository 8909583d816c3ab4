-- Locks, one row each: who holds it, and until when. For people: the view {locks}.

-- Each new holder draws a number, and so does a lock that is given up. So the token of a lock grows for good, also
-- after its row was taken away.
CREATE SEQUENCE {lock_token} AS bigint;

CREATE TABLE {lock} (
    -- SHA-256 of what the lock is on.
    key     bytea   NOT NULL CONSTRAINT {lock_pkey} PRIMARY KEY,
    -- For people.
    name    text    NOT NULL,
    token   bigint  NOT NULL,
    holder  bytea   NOT NULL,
    -- Microseconds since 1970 (UTC). From then on it is free.
    ends_at bigint  NOT NULL,
    -- Somebody waits, and is to be told when it is given up.
    awaited boolean NOT NULL DEFAULT false
) WITH (
    -- A row that is renewed is written anew: with room on its page, no index is touched.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000
);

CREATE VIEW {locks} AS
SELECT name, ends_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS held,
       to_timestamp(ends_at / 1000000.0) AS ends, token, encode(key, 'hex') AS key
FROM {lock};
