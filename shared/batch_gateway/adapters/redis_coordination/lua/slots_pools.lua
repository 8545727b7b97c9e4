-- A page of the pools that are not forgotten yet.
-- KEYS  1 the slots' root
-- ARGV  1 limit of a new pool, 2 ms after which a signal is no news, 3 pools to pass over,
--       4 most pools to return
-- Returns {now in ms, pools}; for each pool {pool, endpoint, limit, learned or '', slots granted, in use,
--          wanted, holders, calls aborted, ms since the last fold or nil, signal or '',
--          breaker or '' without a holder}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
redis.call('ZREMRANGEBYSCORE', KEYS[1] .. ':pools', '-inf', now)
for _, pool in ipairs(redis.call('ZRANGE', KEYS[1] .. ':pools', ARGV[3], ARGV[3] + ARGV[4] - 1)) do
  local granted, in_use, wanted, holders = 0, 0, 0, 0
  for _, entry in ipairs(redis.call('HVALS', KEYS[1] .. ':holders:' .. pool)) do
    local expiry, slots, want, uses = string.match(entry, '(%d+):(%d+):(%d+):(%d+)')
    if tonumber(expiry) > now then
      granted, holders = granted + tonumber(slots), holders + 1
      wanted, in_use = wanted + tonumber(want), in_use + tonumber(uses)
    end
  end
  local known = redis.call('HMGET', KEYS[1] .. ':limit:' .. pool,
    'endpoint', 'limit', 'learned', 'aborted', 'folded_at', 'signal', 'signal_at',
    'breaker')
  local fresh = known[7] and now - tonumber(known[7]) < tonumber(ARGV[2])
  found[#found + 1] = {
    pool, known[1] or '', known[2] or ARGV[1], known[3] or '', granted, in_use, wanted, holders,
    tonumber(known[4] or 0), known[5] and now - tonumber(known[5]), fresh and known[6] or '',
    holders > 0 and known[8] or '',
  }
end
return { now, found }
