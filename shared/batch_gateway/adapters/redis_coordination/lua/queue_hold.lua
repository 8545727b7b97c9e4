-- Record leases and their heartbeats. A lease is taken down if its epoch is higher than any known
-- of the shard, or if it is the present one; so a holder that was replaced cannot come back.
-- KEYS  1 the queue's root
-- ARGV  1 lifetime in ms; then for each lease: shard, epoch, token, queue entry as JSON or ''
-- Returns how many were taken down.
local function supersedes(shard, epoch, token)
  local known = redis.call('HGET', key('leases'), shard)
  if not known then return true end
  local last, holder = string.match(known, '^(%d+):(.*)$')
  if tonumber(epoch) ~= tonumber(last) then return tonumber(epoch) > tonumber(last) end
  return token == holder
end

local held = 0
for i = 2, #ARGV, 4 do
  local shard, epoch, token, given = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if supersedes(shard, epoch, token) then
    local text = redis.call('HGET', key('tickets'), shard)
    local ticket = text and read(text)
    -- Ready here although it is leased: its reservation ran out, or it was queued again.
    if ticket and remove(shard, ticket) then charge(ticket.tenant, ticket.cost, 1) end
    if given ~= '' then redis.call('HSETNX', key('tickets'), shard, given) end
    redis.call('ZREM', key('reserved'), shard)
    redis.call('ZADD', key('leased'), now + ARGV[1], shard)
    redis.call('HSET', key('leases'), shard, epoch .. ':' .. token)
    held = held + 1
  end
end
return held
