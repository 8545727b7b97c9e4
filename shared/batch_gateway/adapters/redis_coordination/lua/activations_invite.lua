-- Note one pending wake-up if there is room.
-- KEYS  1 running, 2 pending, 3 dead
-- ARGV  1 name of the wake-up, 2 maximum of running and pending together, 3 lifetime in ms
-- Returns 1, or 0 when there is no room.
local running, pending = count()
if running + pending >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
return 1
