-- Plant a generation and give the lock back.
-- KEYS  1 the lock, 2 the generation (hash: id, planted_ms, settled)
-- ARGV  1 holder, 2 generation, 3 settled (0 or 1)
-- Returns 1, or 0 when the lock was lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2],
  'id', ARGV[2], 'planted_ms', string.format('%.0f', now), 'settled', ARGV[3])
redis.call('DEL', KEYS[1])
return 1
