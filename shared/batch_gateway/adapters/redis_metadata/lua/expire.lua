-- Set the ending expired when the deadline has passed by the database's clock; close ready shards.
-- KEYS     the root
-- ARGS     batch, now, fence_at, events [{id, body}]
-- Returns  the batch's row; nil when it is not due or is ending already

local batch = load_row('batch', args.batch)
if not batch or not allows(batch, 'expire') or tonumber(batch.deadline) > database_time() then
  return false
end

update(batch, {ending = 'expired', fence_at = args.fence_at})
local none_left = shards_closed(batch, close_ready(batch), args.now)
if none_left and batch.status == 'validating' then move(batch, 'finalizing', args.now) end
write_events(args.now)
reindex(batch)
return row_of(batch)
