-- All webhook endpoints of a tenant that are not disabled, by creation.
-- KEYS     the root
-- ARGS     tenant
-- Returns  the rows

local ID_AT = 22  -- behind 20 digits and a colon
local rows = {}
local listing = tenant_key('webhook-endpoints-of', args.tenant)
for _, member in ipairs(redis.call('ZRANGEBYLEX', listing, '-', '+')) do
  local id = member:sub(ID_AT)
  if redis.call('HEXISTS', key('webhook-endpoint', id), 'disabled_at') == 0 then
    rows[#rows + 1] = redis.call('HGETALL', key('webhook-endpoint', id))
  end
end
return rows
