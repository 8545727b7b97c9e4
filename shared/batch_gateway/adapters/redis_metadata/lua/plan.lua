-- validating -> in_progress: adopt a staged plan. Renaming keeps this short however many shards
-- there are; a plan that comes too late is dropped.
-- KEYS     the root
-- ARGS     batch, staging (name of the attempt), open (number of shards), total (lines), model (absent: None), tally (of the closed
--          shards), options (absent: as they are), now, events [{id, body}]
-- Returns  the batch's row; nil when it may not be planned (any more)

local KINDS = {'shards', 'planned', 'ready'}

local batch = load_row('batch', args.batch)
local late = not batch or not allows(batch, 'plan')
local queued = {queued_requests = args.total}
local refused = not late and over_quota(batch.tenant, queued)
if late or refused then
  for _, kind in ipairs(KINDS) do redis.call('UNLINK', key('staged-' .. kind, args.staging)) end
  return refused
end

for _, kind in ipairs(KINDS) do
  local staged = key('staged-' .. kind, args.staging)
  if redis.call('EXISTS', staged) == 1 then
    redis.call('PERSIST', staged)
    redis.call('RENAME', staged, key(kind, args.batch))
  end
end
update(batch, {open_shards = args.open, total = args.total, model = args.model,
  options = args.options})
book(batch.tenant, queued)
for field, amount in pairs(args.tally) do add_amount(batch.id, field, amount) end
move(batch, 'in_progress', args.now)
if open_shards(batch) == 0 then move(batch, 'finalizing', args.now) end
write_events(args.now)
reindex(batch)
return row_of(batch)
