-- To completed, expired or cancelled, with the file rows of the results.
-- KEYS     the root
-- ARGS     batch, to, change (to that status, as in PRECONDITIONS), holder, files [{field: value}],
--          changes {field: value} (counts, usage, file ids, options), now, events [{id, body}],
--          report (see keep_report)
-- Returns  the batch's row; nil when its state or ending calls for something else, or `holder`
--          does not hold the assembly; CONFLICT when a file's id is taken

local batch = load_row('batch', args.batch)
if not batch or batch.assembler ~= args.holder or not allows(batch, args.change) then
  return false
end

for _, file in ipairs(args.files) do
  local conflict = taken('file', file.id)
  if conflict then return conflict end
end

for _, file in ipairs(args.files) do add_file(file) end
clear(batch, 'assembler', 'assembler_until',
  'input_tokens', 'cached_tokens', 'output_tokens', 'reasoning_tokens')
book(batch.tenant, of_open(batch), -1)
update(batch, args.changes)
move(batch, args.to, args.now)
write_events(args.now)
keep_report(batch)
reindex(batch)
return row_of(batch)
