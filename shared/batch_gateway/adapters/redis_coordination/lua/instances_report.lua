-- Report an instance of a function.
-- KEYS  1 instances: zset "function instance started-ms" by the instant in ms when it ends
-- ARGV  1 lifetime of the report in ms, 0: it ends now; 2 ms for which ended ones are kept,
--       3 how many are kept; 4 function, 5 instance, 6 its start in ms, or '' for now
-- Returns its start in ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local started = ARGV[6] ~= '' and ARGV[6] or string.format('%.0f', now)
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. started)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[3] - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1] + ARGV[2])
return started
