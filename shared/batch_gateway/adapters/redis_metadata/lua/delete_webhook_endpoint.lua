-- Delete a webhook endpoint and its deliveries.
-- KEYS     the root
-- ARGS     tenant, endpoint
-- Returns  1 if it was the tenant's

local found = load_row('webhook-endpoint', args.endpoint)
if not found or found.tenant ~= args.tenant then return 0 end

local listing = tenant_key('webhook-deliveries-of', args.tenant, args.endpoint)
local ID_AT = 22  -- behind 20 digits and a colon
for _, member in ipairs(redis.call('ZRANGE', listing, 0, -1)) do drop_delivery(member:sub(ID_AT)) end
redis.call('ZREM', tenant_key('webhook-endpoints-of', args.tenant), listed(found))
redis.call('DEL', key('webhook-endpoint', args.endpoint))
return 1
