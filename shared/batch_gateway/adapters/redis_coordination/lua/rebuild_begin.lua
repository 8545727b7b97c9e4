-- Take the lock for a rebuild, or renew it for the same holder.
-- KEYS  1 the lock, 2 the generation
-- ARGV  1 holder, 2 lifetime in ms
-- Returns 1, or 0 when another has it or the generation is planted already.
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', math.max(1, ARGV[2]))
return 1
