-- The tokens of some locks, which nobody gets before this transaction has ended.
SELECT key, token FROM {lock} WHERE key = ANY($1::bytea[]) ORDER BY key FOR SHARE
