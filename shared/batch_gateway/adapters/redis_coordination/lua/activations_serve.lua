-- Note that an activation serves a request.
-- KEYS  1 activations that serve it (set)
-- ARGV  1 activation, 2 ms for which that is remembered
-- Returns the other activations that have served it.
local before = redis.call('SMEMBERS', KEYS[1])
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return before
