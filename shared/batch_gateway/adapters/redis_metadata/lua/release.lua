-- Hand a shard back: it is ready again, or closed when its batch is ending.
-- KEYS     the root
-- ARGS     as finish_shard.lua
-- Returns  1 when it is ready again; {'1' if it was the last open one else '0', the batch's row}
--          when it was closed; nil when the lease is lost

local lease = args.lease
if not holds(lease) then return false end

local batch = load_row('batch', lease.batch)
if batch.ending then return close_leased(batch) end

end_lease(lease.batch, lease.index)
shard_set(lease.batch, lease.index, {parts = args.parts})
record_tally(lease.batch, lease.index, args.tally)
redis.call('ZADD', key('ready', lease.batch), lease.index, lease.index)
reindex(batch)
return 1
