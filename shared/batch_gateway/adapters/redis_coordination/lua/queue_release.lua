-- Make a reserved, leased or forgotten shard ready again.
-- KEYS  1 the queue's root
-- ARGV  1 shard, 2 queue entry as JSON, 3 share of its cost to give back, 4 weight of its tenant,
--       5 epoch of the lease that is over, or ''
-- Returns 1, or 0 when it was ready already, or has a newer lease.
local shard, text = ARGV[1], ARGV[2]
local known = redis.call('HGET', key('tickets'), shard)
local lease = redis.call('HGET', key('leases'), shard)
local epoch = lease and tonumber(string.match(lease, '^(%d+):'))
if ARGV[5] ~= '' and epoch and epoch > tonumber(ARGV[5]) then return 0 end
local reserved = redis.call('ZREM', key('reserved'), shard) == 1
local leased = redis.call('ZREM', key('leased'), shard) == 1
if known and not reserved and not leased then return 0 end
if leased then redis.call('HSET', key('leases'), shard, string.match(lease, '^%d+:')) end
local ticket = read(text)
if tonumber(ARGV[4]) ~= 1 then redis.call('HSET', key('weights'), ticket.tenant, ARGV[4]) end
if known then charge(ticket.tenant, ticket.cost, -tonumber(ARGV[3])) end
insert(shard, text, ticket)
return 1
