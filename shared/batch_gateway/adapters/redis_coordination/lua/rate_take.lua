-- Admit one more, or not: a bucket that holds `limit` and refills evenly within the window.
-- What is stored is one instant, the time at which the bucket will be full again.
-- KEYS  1 the bucket
-- ARGV  1 limit, 2 window in ms
-- Returns  {1 or 0: passed, how many could follow at once, ms until the next may pass (0: now),
--           ms until the bucket is full}
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local each = window / limit
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)

local passed = 0
if full_at + each - now <= window + 0.001 then
  passed = 1
  full_at = full_at + each
  redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now) + 1)
end
local remaining = math.max(0, math.floor((window - (full_at - now)) / each + 0.001))
local wait = 0
if remaining == 0 then wait = math.max(1, math.ceil(full_at + each - now - window)) end
return {passed, remaining, wait, math.ceil(full_at - now)}
