-- Revoke an API key; one that is revoked already keeps its time.
-- KEYS     the root
-- ARGS     api_key (id), now
-- Returns  its row; nil when there is none

local name = key('api-key', args.api_key)
if redis.call('EXISTS', name) == 0 then return false end
redis.call('HSETNX', name, 'revoked_at', args.now)
return redis.call('HGETALL', name)
