-- To cancelling: no more lines are started, ready shards are closed, leased ones stay open.
-- KEYS     the root
-- ARGS     tenant, batch, now, fence_at, errors, events [{id, body}]
-- Returns  the batch's row; nil when its state does not allow it or it is another tenant's

local batch = load_row('batch', args.batch)
if not batch or batch.tenant ~= args.tenant or not allows(batch, 'cancel') then return false end

move(batch, 'cancelling', args.now)
update(batch, {ending = 'cancelled', fence_at = args.fence_at, errors = args.errors})
shards_closed(batch, close_ready(batch), args.now)
write_events(args.now)
reindex(batch)
return row_of(batch)
