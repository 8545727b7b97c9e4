-- What the scripts of the register share, put before each of them.
-- KEYS  1 running (zset: activation by expiry), 2 pending (zset: wake-up by expiry)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- How many are running and pending, after those that have gone silent are dropped.
local function count()
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  return redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2])
end
