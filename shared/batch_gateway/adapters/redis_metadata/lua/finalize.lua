-- in_progress -> finalizing of a batch without open shards.
-- KEYS     the root
-- ARGS     batch, now, events [{id, body}]
-- Returns  the batch's row; nil when it is not such a batch

local batch = load_row('batch', args.batch)
if not batch or not allows(batch, 'finalize') then return false end

move(batch, 'finalizing', args.now)
write_events(args.now)
reindex(batch)
return row_of(batch)
