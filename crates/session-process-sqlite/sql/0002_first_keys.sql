-- The key under which a session was created, if it has had another one since. Whoever lost sight of a session can tell by
-- it whether it is over or has a new id.
ALTER TABLE session ADD COLUMN first_key BLOB CHECK (length(first_key) = 32);

CREATE INDEX session_by_first ON session (first_key) WHERE first_key IS NOT NULL;
