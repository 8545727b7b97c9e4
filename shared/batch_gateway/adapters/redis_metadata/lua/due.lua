-- Files, uploads or batches out of the sweeps' indexes, those of each index by ascending score.
-- KEYS     the root
-- ARGS     kind ('file', 'upload' or 'batch'), indexes (their names below the root),
--          limit (rows of each),
--          until (highest score, in ZRANGEBYSCORE's notation; absent: the database's time)
-- Returns  rows

local up_to = args['until'] or string.format('%.0f', database_time())
local rows = {}
for _, index in ipairs(args.indexes) do
  local ids = redis.call('ZRANGEBYSCORE', key(index), '-inf', up_to, 'LIMIT', 0, args.limit)
  for _, id in ipairs(ids) do rows[#rows + 1] = redis.call('HGETALL', key(args.kind, id)) end
end
return rows
