-- Record the parts of earlier epochs that count.
-- KEYS     the root
-- ARGS     lease {batch, index, epoch, token}, parts (JSON)
-- Returns  1, or 0 when the lease is lost

if not holds(args.lease) then return 0 end
shard_set(args.lease.batch, args.lease.index, {parts = args.parts})
return 1
