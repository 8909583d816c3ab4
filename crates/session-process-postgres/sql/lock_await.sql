-- Whoever gives it up is to tell. Nothing is returned if it is free by now.
UPDATE {lock} SET awaited = true WHERE key = $2::bytea AND ends_at > {clock} RETURNING ends_at - {clock}
