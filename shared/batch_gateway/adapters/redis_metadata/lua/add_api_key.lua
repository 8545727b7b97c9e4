-- Add an API key.
-- KEYS     the root
-- ARGS     api_key {field: value}
-- Returns  nothing; CONFLICT when the id or the digest is taken

local conflict = taken('api-key', args.api_key.id)
if conflict then return conflict end
if redis.call('HEXISTS', key('api-keys-by-digest'), args.api_key.digest) == 1 then
  return redis.error_reply('CONFLICT there is an API key with this digest already')
end

store('api-key', args.api_key)
redis.call('HSET', key('api-keys-by-digest'), args.api_key.digest, args.api_key.id)
redis.call('ZADD', key('api-keys'), 0, listed(args.api_key))
return false
