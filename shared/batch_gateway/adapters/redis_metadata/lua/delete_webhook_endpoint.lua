-- Delete a webhook endpoint with its deliveries, of which it may have very many: some per call.
-- KEYS     the root
-- ARGS     tenant, endpoint, limit (deliveries to delete in this call)
-- Returns  0 if it is not the tenant's, 1 once it is deleted, 2: call again. From the first call on
--          it gets no more deliveries.

local found = load_row('webhook-endpoint', args.endpoint)
if not found or found.tenant ~= args.tenant then return 0 end

local name = key('webhook-endpoint', args.endpoint)
local listing = tenant_key('webhook-deliveries-of', args.tenant, args.endpoint)
local ID_AT = 22  -- behind 20 digits and a colon
for _, member in ipairs(redis.call('ZRANGE', listing, 0, args.limit - 1)) do
  drop_delivery(member:sub(ID_AT))
  redis.call('ZREM', listing, member)
end
if redis.call('EXISTS', listing) == 1 then
  redis.call('HSET', name, 'deleting', '1')
  return 2
end
redis.call('ZREM', tenant_key('webhook-endpoints-of', args.tenant), listed(found))
redis.call('DEL', name)
return 1
