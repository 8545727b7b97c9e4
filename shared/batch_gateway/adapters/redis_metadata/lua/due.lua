-- Files, uploads or batches out of the sweeps' indexes, those of each index by ascending score.
-- KEYS     the root
-- ARGS     kind ('file', 'upload' or 'batch'), indexes (their names below the root),
--          limit (rows of each),
--          until (highest score, in ZRANGEBYSCORE's notation; absent: the database's time),
--          after {score, id} (only what is behind that; absent: all)
-- Returns  rows

local up_to = args['until'] or string.format('%.0f', database_time())
local from = args.after and '(' .. args.after.score or '-inf'
local limit = tonumber(args.limit)
local rows = {}

local function add(id)
  rows[#rows + 1] = redis.call('HGETALL', key(args.kind, id))
end

for _, index in ipairs(args.indexes) do
  local left = limit
  if args.after then
    -- Ties are ordered by id: start at the first one with an id behind `after`.
    local score = args.after.score
    local ties = redis.call('ZCOUNT', key(index), score, score)
    local low, high = 0, ties
    while low < high do
      local middle = math.floor((low + high) / 2)
      local id = redis.call('ZRANGEBYSCORE', key(index), score, score, 'LIMIT', middle, 1)[1]
      if id > args.after.id then high = middle else low = middle + 1 end
    end
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key(index), score, score, 'LIMIT', low, left)) do
      add(id)
      left = left - 1
    end
  end
  if left > 0 then
    local ids = redis.call('ZRANGEBYSCORE', key(index), from, up_to, 'LIMIT', 0, left)
    for _, id in ipairs(ids) do add(id) end
  end
end
return rows
