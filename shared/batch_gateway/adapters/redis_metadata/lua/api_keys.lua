-- All API keys by creation and then id. An administrator's question about a list that stays short.
-- KEYS     the root
-- ARGS     tenant (only this one's; absent: all)
-- Returns  rows

local ID_AT = 22  -- behind 20 digits and a colon
local rows = {}
for _, member in ipairs(redis.call('ZRANGEBYLEX', key('api-keys'), '-', '+')) do
  local name = key('api-key', member:sub(ID_AT))
  if not args.tenant or redis.call('HGET', name, 'tenant') == args.tenant then
    rows[#rows + 1] = redis.call('HGETALL', name)
  end
end
return rows
