-- Register an activation; it uses up the oldest pending wake-up.
-- KEYS  1 running, 2 pending, 3 dead
-- ARGV  1 activation, 2 maximum, 3 lifetime in ms
-- Returns 1, or 0 when the house is full. One that is registered already stays so.
local running, pending = count()
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if running >= tonumber(ARGV[2]) then return 0 end
  redis.call('ZPOPMIN', KEYS[2])
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
return 1
