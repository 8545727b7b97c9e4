-- Take a right, or renew it for the same holder.
-- KEYS  1 the right
-- ARGV  1 holder, 2 lifetime in ms
-- Returns 1, or 0 when another has it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', math.max(1, ARGV[2]))
return 1
