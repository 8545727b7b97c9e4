-- Add deliveries whose endpoints exist; those that are there stay as they are.
-- KEYS     the root
-- ARGS     deliveries [{field: value}]
-- Returns  how many are new

local new = 0
for _, row in ipairs(args.deliveries) do
  local endpoint = key('webhook-endpoint', row.endpoint)
  local known = redis.call('EXISTS', endpoint) == 1
    and redis.call('HEXISTS', endpoint, 'deleting') == 0
  if known and redis.call('EXISTS', key('webhook-delivery', row.id)) == 0 then
    new = new + 1
    store('webhook-delivery', row)
    redis.call('ZADD', deliveries_of(row), 0, listed(row))
    redis.call('ZADD', key('webhook-deliveries-by-age'), row.created_at, row.id)
    if row.due_at then redis.call('ZADD', key('webhook-deliveries-due'), row.due_at, row.id) end
  end
end
return new
