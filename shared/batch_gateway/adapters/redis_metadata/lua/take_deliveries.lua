-- Take deliveries whose time has come, longest due first; they are due again at `later`.
-- KEYS     the root
-- ARGS     now, later, limit
-- Returns  [{the delivery's row, its endpoint's row}]

local due = redis.call('ZRANGEBYSCORE', key('webhook-deliveries-due'), '-inf', args.now,
  'LIMIT', 0, args.limit)
local taken = {}
for i, id in ipairs(due) do
  redis.call('HSET', key('webhook-delivery', id), 'due_at', args.later)
  redis.call('ZADD', key('webhook-deliveries-due'), args.later, id)
  local endpoint = redis.call('HGET', key('webhook-delivery', id), 'endpoint')
  taken[i] = {
    redis.call('HGETALL', key('webhook-delivery', id)),
    redis.call('HGETALL', key('webhook-endpoint', endpoint)),
  }
end
return taken
