-- What waits of some batches: those with the earliest deadlines, and those asked for.
-- KEYS  1 the queue's root
-- ARGV  1 how many by deadline, fewer where they have very many models; then batches
-- Returns {batch, deadline in ms, urgent after in ms or -1, {model, cost, model, cost, ...}} each.
local MOST_COSTS = 20000 -- a script blocks the server while it runs
local found, seen, costs = {}, {}, 0

local function add(batch)
  if seen[batch] then return end
  seen[batch] = true
  local record = redis.call('HMGET', key('batch', batch), 'deadline', 'urgent_after')
  if not record[1] then return end
  local by_model = redis.call('HGETALL', key('costs', batch))
  costs = costs + #by_model
  found[#found + 1] = { batch, record[1], record[2], by_model }
end

for i = 2, #ARGV do add(ARGV[i]) end
if tonumber(ARGV[1]) > 0 then
  for _, batch in ipairs(redis.call('ZRANGE', key('deadlines'), 0, ARGV[1] - 1)) do
    if costs < MOST_COSTS then add(batch) end
  end
end
return found
