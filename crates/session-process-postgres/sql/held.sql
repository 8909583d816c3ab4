-- Which of these rows somebody else holds just now. NOT IN, which is hashed whatever the settings of the connection
-- are: a join would look at each pair of rows, and a group may have tens of thousands.
WITH free AS MATERIALIZED (
    SELECT key FROM {session} WHERE key = ANY($1::bytea[]) FOR UPDATE SKIP LOCKED
)
SELECT key FROM {session} WHERE key = ANY($1::bytea[]) AND key NOT IN (SELECT key FROM free)
