-- A stretch of a batch's shards, by index.
-- KEYS     the root
-- ARGS     batch, first, last (ranks in the plan, from 0)
-- Returns  their rows; none behind the end of the plan

local indexes = redis.call('ZRANGE', key('planned', args.batch), args.first, args.last)
local rows = {}
for i, index in ipairs(indexes) do rows[i] = shard_row(args.batch, index) end
return rows
