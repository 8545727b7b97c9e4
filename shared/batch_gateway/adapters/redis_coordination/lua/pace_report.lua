-- Add what a holder finished to the present buckets, and note what it has left.
-- KEYS  1 the paces' root
-- ARGV  1 holder, 2 how long its word on what is left holds in ms, 3 length of a bucket in ms,
--       4 buckets kept; then for each stint: batch, model, cost done, cost left, blocked or ''
--
-- batch:BATCH  hash  since, at (ms of the first and last report), done:BUCKET -> cost,
--                    left:HOLDER:MODEL -> "expiry in ms:cost:blocked"
-- model:MODEL  hash  BUCKET -> cost
-- Buckets are numbered from 1970 on. Without reports the entry of a batch expires after an hour, and
-- that of a model after a week: estimates of batches that wait for the night need it.
local root, holder, ttl = KEYS[1], ARGV[1], tonumber(ARGV[2])
local length, kept = tonumber(ARGV[3]), tonumber(ARGV[4])
local HOUR, WEEK = 3600 * 1000, 7 * 24 * 3600 * 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bucket = math.floor(now / length)

-- Drop what is too old once a bucket begins.
local function trim(name, prefix)
  for _, entry in ipairs(redis.call('HKEYS', name)) do
    local number = string.match(entry, '^' .. prefix .. '(%d+)$')
    if number and tonumber(number) <= bucket - kept then redis.call('HDEL', name, entry) end
  end
end

local function add(name, prefix, cost, memory)
  if cost > 0 then
    local entry = prefix .. string.format('%.0f', bucket)
    if redis.call('HEXISTS', name, entry) == 0 then trim(name, prefix) end
    redis.call('HINCRBYFLOAT', name, entry, cost)
  end
  redis.call('PEXPIRE', name, memory)
end

for i = 5, #ARGV, 5 do
  local batch, model = root .. ':batch:' .. ARGV[i], root .. ':model:' .. ARGV[i + 1]
  local done, left = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  redis.call('HSETNX', batch, 'since', string.format('%.0f', now))
  redis.call('HSET', batch, 'at', string.format('%.0f', now))
  local entry = 'left:' .. holder .. ':' .. ARGV[i + 1]
  if left > 0 then
    redis.call('HSET', batch, entry, string.format('%.0f:%.17g:%s', now + ttl, left, ARGV[i + 4]))
  else
    redis.call('HDEL', batch, entry)
  end
  add(batch, 'done:', done, HOUR)
  if done > 0 then add(model, '', done, WEEK) end
end
