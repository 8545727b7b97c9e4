-- Delete dead letters: one, old ones, or all but the newest.
-- KEYS     the root
-- ARGS     letter (id), or before (instant) or most (how many stay), and limit
-- Returns  how many there were

local ids
if args.letter then
  ids = {args.letter}
elseif args.before then
  ids = redis.call('ZRANGEBYSCORE', key('dead-letters'), '-inf', '(' .. args.before,
    'LIMIT', 0, args.limit)
else
  ids = redis.call('ZREVRANGE', key('dead-letters'), args.most, args.most + args.limit - 1)
end
local dropped = 0
for _, id in ipairs(ids) do
  redis.call('DEL', key('dead-letter', id))
  dropped = dropped + redis.call('ZREM', key('dead-letters'), id)
end
return dropped
