-- Take an activation out of the register if another one is in it.
-- KEYS  1 running, 2 pending, 3 dead
-- ARGV  1 activation
-- Returns 1, or 0 when there is no other.
local others = count()
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then others = others - 1 end
if others == 0 then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
