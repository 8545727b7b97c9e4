-- Write how an attempt went.
-- KEYS     the root
-- ARGS     delivery {field: value}, healthy ('1', '0'; absent: the endpoint was not called), now,
--          disable ('1': the endpoint gets no more)
-- Returns  nothing

local row = args.delivery
local endpoint = key('webhook-endpoint', row.endpoint)
if redis.call('EXISTS', endpoint) == 1 then
  if args.healthy == '1' then redis.call('HDEL', endpoint, 'failing_since') end
  if args.healthy == '0' then redis.call('HSETNX', endpoint, 'failing_since', args.now) end
  if args.disable == '1' then redis.call('HSET', endpoint, 'disabled_at', args.now) end
end

local found = load_row('webhook-delivery', row.id)
if not found or found.state ~= 'pending' then return false end
redis.call('DEL', key('webhook-delivery', row.id))
store('webhook-delivery', row)
keep(key('webhook-deliveries-due'), row.id, row.due_at, row.due_at and row.state == 'pending')
return false
