-- To failed, from any state that allows it, with all shards closed.
-- KEYS     the root
-- ARGS     batch, errors (JSON), now,
--          events [{id, body}], report (see keep_report)
-- Returns  the batch's row; nil when its state does not allow it

local batch = load_row('batch', args.batch)
if not batch or not allows(batch, 'fail') then return false end

close_ready(batch)
for _, index in ipairs(redis.call('SMEMBERS', key('leased', batch.id))) do
  end_lease(batch.id, index)
end
book(batch.tenant, of_open(batch), -1)
move(batch, 'failed', args.now)
update(batch, {open_shards = '0', errors = args.errors})
clear(batch, 'assembler', 'assembler_until')
write_events(args.now)
keep_report(batch)
reindex(batch)
return row_of(batch)
