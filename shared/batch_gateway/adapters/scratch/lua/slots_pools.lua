-- All pools that are not forgotten yet.
-- KEYS  1 the slots' root
-- ARGV  1 limit of a new pool
-- Returns {pool, limit, slow start, last brake or '', slots granted, holders} for each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
redis.call('ZREMRANGEBYSCORE', KEYS[1] .. ':pools', '-inf', now)
for _, pool in ipairs(redis.call('ZRANGE', KEYS[1] .. ':pools', 0, -1)) do
  local granted, holders = 0, 0
  for _, entry in ipairs(redis.call('HVALS', KEYS[1] .. ':holders:' .. pool)) do
    local expiry, slots = string.match(entry, '(%d+):(%d+)')
    if tonumber(expiry) > now then
      granted, holders = granted + tonumber(slots), holders + 1
    end
  end
  local known = redis.call('HMGET', KEYS[1] .. ':limit:' .. pool,
    'limit', 'slow_start', 'last_brake')
  found[#found + 1] = {
    pool, known[1] or ARGV[1], known[2] or '1', known[3] or '', granted, holders,
  }
end
return found
