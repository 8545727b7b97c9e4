-- What waits of some batches: those with the earliest deadlines, and those asked for.
-- KEYS  1 the queue's root
-- ARGV  1 how many by deadline, then batches
-- Returns {batch, deadline in ms, urgent after in ms or -1, {model, cost, model, cost, ...}} each.
local found, seen = {}, {}

local function add(batch)
  if seen[batch] then return end
  seen[batch] = true
  local record = redis.call('HMGET', key('batch', batch), 'deadline', 'urgent_after')
  if not record[1] then return end
  found[#found + 1] = {
    batch, record[1], record[2], redis.call('HGETALL', key('costs', batch)),
  }
end

for i = 2, #ARGV do add(ARGV[i]) end
if tonumber(ARGV[1]) > 0 then
  for _, batch in ipairs(redis.call('ZRANGE', key('deadlines'), 0, ARGV[1] - 1)) do add(batch) end
end
return found
