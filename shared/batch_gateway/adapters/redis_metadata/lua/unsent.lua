-- Events that wait to be sent, oldest first.
-- KEYS     the root
-- ARGS     before (instant), limit
-- Returns  [{id, body, written at}]

local waiting = redis.call('ZRANGEBYSCORE', key('outbox-unsent'), '-inf', '(' .. args.before,
  'WITHSCORES', 'LIMIT', 0, args.limit)
local found = {}
for i = 1, #waiting, 2 do
  found[#found + 1] = {
    waiting[i], redis.call('HGET', key('outbox'), waiting[i]), waiting[i + 1]}
end
return found
