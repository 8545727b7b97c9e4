-- Files, uploads or batches out of the sweeps' indexes, those of each index by ascending score.
-- KEYS     the root
-- ARGS     kind ('file', 'upload' or 'batch'), indexes (their names below the root),
--          limit (rows of each),
--          until (highest score, in ZRANGEBYSCORE's notation; absent: the database's time),
--          after {score, id} (only what is behind that; absent: all)
-- Returns  rows

local up_to = args['until'] or string.format('%.0f', database_time())
local from = args.after and '(' .. args.after.score or '-inf'
local rows = {}

local function add(id)
  rows[#rows + 1] = redis.call('HGETALL', key(args.kind, id))
end

for _, index in ipairs(args.indexes) do
  if args.after then
    local score = args.after.score
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key(index), score, score)) do
      if id > args.after.id then add(id) end
    end
  end
  local ids = redis.call('ZRANGEBYSCORE', key(index), from, up_to, 'LIMIT', 0, args.limit)
  for _, id in ipairs(ids) do add(id) end
end
return rows
