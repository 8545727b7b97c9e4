-- Set the tally of a shard.
-- KEYS  1 the batch's hash: index -> "expiry in ms:tally"
-- ARGV  1 index, 2 tally, 3 lifetime in ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f:%s', now + ARGV[3], ARGV[2]))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], math.max(1, ARGV[3]))
end
