-- What is left to do, of all tenants together.
-- KEYS     the root
-- ARGS     unended (the statuses of batches that have not ended)
-- Returns  {first running deadline or nil as false, [model, requests, ...], [tenant, batches, ...]}

local requests, tenants = {}, {}

local function add(counts, name, count)
  counts[name] = (counts[name] or 0) + count
end

local function pairs_of(counts)
  local flat = {}
  for name, count in pairs(counts) do
    flat[#flat + 1] = name
    flat[#flat + 1] = count
  end
  return flat
end

for _, status in ipairs(args.unended) do
  for _, id in ipairs(redis.call('ZRANGE', key('batches-by-status', status), 0, -1)) do
    local fields = {'tenant', 'model', 'total', 'completed', 'failed'}
    local row = redis.call('HMGET', key('batch', id), unpack(fields))
    add(tenants, row[1], 1)
    local left = tonumber(row[3]) - tonumber(row[4]) - tonumber(row[5])
    if status == 'in_progress' and left > 0 then add(requests, row[2] or '', left) end
  end
end
local first = redis.call('ZRANGE', key('batches-by-deadline'), 0, 0, 'WITHSCORES')
return {first[2] or false, pairs_of(requests), pairs_of(tenants)}
