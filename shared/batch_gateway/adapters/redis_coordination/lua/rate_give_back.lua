-- Undo one passage through a bucket (see rate_take).
-- KEYS  1 the bucket
-- ARGV  1 limit, 2 window in ms
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0) - tonumber(ARGV[2]) / tonumber(ARGV[1])
if full_at > now + 0.001 then
  redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now) + 1)
else
  redis.call('DEL', KEYS[1])
end
return 1
