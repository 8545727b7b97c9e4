-- All instances that run or ended lately.
-- KEYS  1 instances: zset "function instance started-ms" by the instant in ms when it ends
-- ARGV  1 ms for which ended ones are kept
-- Returns {now in ms, {member, score, member, score, ...}}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return { now, redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[1], '+inf', 'WITHSCORES') }
