-- Add a webhook endpoint.
-- KEYS     the root
-- ARGS     endpoint {field: value}, most (endpoints of its tenant; absent: any number)
-- Returns  1; 0 when the tenant has `most` already; CONFLICT when the id is taken

local conflict = taken('webhook-endpoint', args.endpoint.id)
if conflict then return conflict end

local listing = tenant_key('webhook-endpoints-of', args.endpoint.tenant)
if args.most and redis.call('ZCARD', listing) >= tonumber(args.most) then return 0 end

store('webhook-endpoint', args.endpoint)
redis.call('ZADD', listing, 0, listed(args.endpoint))
return 1
