-- Set a pool's limit, unless somebody else has set it since it was read.
-- KEYS  1 the slots' root
-- ARGV  1 pool, 2 version that was read, 3 limit, 4 slow start (0 or 1), 5 last brake or '',
--       6 ms after which an idle pool is forgotten
-- Returns 1, or 0 when it had changed.
local state = KEYS[1] .. ':limit:' .. ARGV[1]
if (redis.call('HGET', state, 'version') or '0') ~= ARGV[2] then return 0 end
redis.call('HINCRBY', state, 'version', 1)
redis.call('HSET', state, 'limit', ARGV[3], 'slow_start', ARGV[4], 'last_brake', ARGV[5])
redis.call('PEXPIRE', state, ARGV[6])
return 1
