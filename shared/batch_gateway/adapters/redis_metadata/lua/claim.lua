-- Lease a ready shard of a batch that may run.
-- KEYS     the root
-- ARGS     batch, index, holder, token, now
-- Returns  {the shard's row, the batch's row}; nil unless the shard is ready and its batch is
--          in_progress, not paused and without ending

local batch = load_row('batch', args.batch)
if not batch or not allows(batch, 'lease') or not is_ready(batch.id, args.index) then return false end
return grant(batch, args.index)
