-- Make shards ready; known ones are left alone, but their batch moves if its order has changed.
-- KEYS  1 the queue's root
-- ARGV  for each shard: shard, queue entry as JSON, weight of its tenant
-- Returns how many are new.
--
-- The server refuses a script for lack of memory only at its first write, and only if that could
-- take memory. So nothing is deleted here before something is written.
local new = 0
for i = 1, #ARGV, 3 do
  local shard, text, weight = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local ticket = read(text)
  if tonumber(weight) == 1 then
    if redis.call('HEXISTS', key('weights'), ticket.tenant) == 1 then
      redis.call('HDEL', key('weights'), ticket.tenant)
    end
  else
    redis.call('HSET', key('weights'), ticket.tenant, weight)
  end
  local known = redis.call('HEXISTS', key('tickets'), shard) == 1
    or redis.call('ZSCORE', key('leased'), shard)
  if not known then
    insert(shard, text, ticket)
    new = new + 1
  end
  if exists(key('batch', ticket.batch)) then describe(ticket) end
end
return new
