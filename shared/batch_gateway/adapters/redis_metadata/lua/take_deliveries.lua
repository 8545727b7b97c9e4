-- Take deliveries whose time has come, longest due first; they are due again at `later`.
-- KEYS     the root
-- ARGS     now, later, limit
-- Returns  [{the delivery's row, its endpoint's row}]

local due = redis.call('ZRANGEBYSCORE', key('webhook-deliveries-due'), '-inf', args.now,
  'LIMIT', 0, args.limit)
local taken = {}
for _, id in ipairs(due) do
  local name = key('webhook-delivery', id)
  local endpoint = key('webhook-endpoint', redis.call('HGET', name, 'endpoint') or '')
  if redis.call('EXISTS', endpoint) == 1 then
    redis.call('HSET', name, 'due_at', args.later)
    redis.call('ZADD', key('webhook-deliveries-due'), args.later, id)
    taken[#taken + 1] = { redis.call('HGETALL', name), redis.call('HGETALL', endpoint) }
  else
    drop_delivery(id)  -- what is left of an endpoint that is gone
  end
end
return taken
