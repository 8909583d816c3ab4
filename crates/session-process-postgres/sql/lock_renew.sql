UPDATE {lock} SET ends_at = {clock} + $4 WHERE key = $2 AND holder = $3 AND ends_at > {clock}
