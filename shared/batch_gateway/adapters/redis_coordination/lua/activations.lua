-- What the scripts of the register share, put before each of them.
-- KEYS  1 running (zset: activation by expiry), 2 pending (zset: wake-up by expiry),
--       3 dead (zset: activation by the instant in ms when it was found silent)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local REMEMBERED = 600000 -- ms that a dead activation is remembered

-- Which activations have gone silent moves to the dead ones.
local function bury()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
    redis.call('ZADD', KEYS[3], 'NX', now, name)
    redis.call('PEXPIRE', KEYS[3], REMEMBERED)
    redis.call('ZREM', KEYS[1], name)
  end
end

-- How many are running and pending, after those that have gone silent are dropped.
local function count()
  bury()
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  return redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2])
end
