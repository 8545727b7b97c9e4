-- Close a shard whose lines all have results.
-- KEYS     the root
-- ARGS     lease {batch, index, epoch, token}, parts (JSON), tally {field: amount},
--          now, events [{id, body}]
-- Returns  {'1' if it was the last open one else '0', the batch's row}; nil when the lease is lost

if not holds(args.lease) then return false end
return close_leased(load_row('batch', args.lease.batch))
