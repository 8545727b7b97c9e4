-- A stretch of a batch's shards, by index.
-- KEYS     the root
-- ARGS     batch, first (index), count
-- Returns  their rows; fewer than `count` at the end of the plan

local rows = {}
for offset = 0, args.count - 1 do
  local row = shard_row(args.batch, string.format('%d', args.first + offset))
  if not row then break end
  rows[#rows + 1] = row
end
return rows
