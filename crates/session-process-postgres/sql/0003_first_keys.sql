-- The key under which a session was created, if it has had another one since. A node that lost sight of a session (it
-- polls, or lost notices) can tell by it whether it is over or has a new id.
ALTER TABLE {session} ADD COLUMN first_key bytea;

-- Only a rotation changes what is in it.
CREATE INDEX {by_first} ON {session} (first_key) WHERE first_key IS NOT NULL;
