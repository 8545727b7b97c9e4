-- Complete a batch by closing its only shard, whose lines all have results.
-- KEYS     the root
-- ARGS     lease {batch, index, epoch, token}, deadline (the batch's), files [{field: value}],
--          changes {field: value} (counts, usage, file ids, options), now, events [{id, body}],
--          report (absent: none)
-- Returns  the batch's row; nil when the lease is lost, or the batch is not in_progress, has an
--          ending, another deadline, other open shards, or not as many lines as `changes.total`;
--          CONFLICT when a file's id is taken

if not holds(args.lease) then return false end
local batch = load_row('batch', args.lease.batch)
if not allows(batch, 'complete')
  or batch.deadline ~= args.deadline or batch.total ~= args.changes.total then
  return false
end

for _, file in ipairs(args.files) do
  local conflict = taken('file', file.id)
  if conflict then return conflict end
end

for _, file in ipairs(args.files) do add_file(file) end
end_lease(batch.id, args.lease.index)
redis.call('UNLINK', key('shards', batch.id), key('planned', batch.id))
move(batch, 'finalizing', args.now)
clear(batch, 'assembler', 'assembler_until')
book(batch.tenant, of_open(batch), -1)
args.changes.open_shards = '0'
update(batch, args.changes)
move(batch, 'completed', args.now)
write_events(args.now)
keep_report(batch)
reindex(batch)
return row_of(batch)
