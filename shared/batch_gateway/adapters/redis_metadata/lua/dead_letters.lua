-- Dead letters, the newest first.
-- KEYS     the root
-- ARGS     limit
-- Returns  the rows

local rows = {}
for i, id in ipairs(redis.call('ZREVRANGE', key('dead-letters'), 0, args.limit - 1)) do
  rows[i] = redis.call('HGETALL', key('dead-letter', id))
end
return rows
