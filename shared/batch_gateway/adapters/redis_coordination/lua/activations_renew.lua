-- Heartbeat of an activation; registers it anew after a wipe.
-- KEYS  1 running, 2 pending, 3 dead
-- ARGV  1 activation, 2 lifetime in ms, 3 ms that others must have been silent for beyond theirs
-- Returns activations that have been silent for so long.
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
bury()
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - REMEMBERED)
local dead = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[3], 'LIMIT', 0, 10)) do
  if redis.call('ZSCORE', KEYS[1], name) then -- renewed by a release that knows of no dead ones
    redis.call('ZREM', KEYS[3], name)
  else
    dead[#dead + 1] = name
  end
end
return dead
