UPDATE {lock} SET ends_at = {clock} + $4::bigint WHERE key = $2::bytea AND holder = $3::bytea AND ends_at > {clock}
