-- Take a leased shard from a holder that is gone.
-- KEYS     the root
-- ARGS     lease {batch, index, epoch, token} as observed, holder, token, now
-- Returns  {the shard's row, the batch's row}; nil when the shard has another lease or none

if not holds(args.lease) then return false end
return grant(load_row('batch', args.lease.batch), args.lease.index)
