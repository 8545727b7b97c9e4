-- The API key with a digest.
-- KEYS     the root
-- ARGS     digest
-- Returns  its row; nil when there is none

local id = redis.call('HGET', key('api-keys-by-digest'), args.digest)
if not id then return false end
return redis.call('HGETALL', key('api-key', id))
