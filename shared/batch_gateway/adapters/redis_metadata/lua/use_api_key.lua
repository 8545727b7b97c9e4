-- Record the use of an API key, unless one that is recent enough is recorded.
-- KEYS     the root
-- ARGS     api_key (id), now, before (a use since then is recent enough)
-- Returns  nothing

local name = key('api-key', args.api_key)
if redis.call('EXISTS', name) == 0 then return false end
local known = redis.call('HGET', name, 'last_used_at')
if not known or tonumber(known) < tonumber(args.before) then
  redis.call('HSET', name, 'last_used_at', args.now)
end
return false
