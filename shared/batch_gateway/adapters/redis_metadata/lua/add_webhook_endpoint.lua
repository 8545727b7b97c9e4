-- Add a webhook endpoint.
-- KEYS     the root
-- ARGS     endpoint {field: value}
-- Returns  nothing; CONFLICT when the id is taken

local conflict = taken('webhook-endpoint', args.endpoint.id)
if conflict then return conflict end

store('webhook-endpoint', args.endpoint)
redis.call('ZADD', tenant_key('webhook-endpoints-of', args.endpoint.tenant), 0, listed(args.endpoint))
return false
