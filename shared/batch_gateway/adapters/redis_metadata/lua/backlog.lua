-- What is left to do of some batches in a status, of all tenants together.
-- KEYS     the root
-- ARGS     status, first, last (ranks of the batches among those in the status)
-- Returns  {number of batches, [model, requests, ...], [tenant, batches, ...]}

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

local ids = redis.call('ZRANGE', key('batches-by-status', args.status), args.first, args.last)
for _, id in ipairs(ids) do
  local row = redis.call('HMGET', key('batch', id), 'tenant', 'model', 'total', 'completed', 'failed')
  add(tenants, row[1], 1)
  local left = tonumber(row[3]) - tonumber(row[4]) - tonumber(row[5])
  if args.status == 'in_progress' and left > 0 then add(requests, row[2] or '', left) end
end
return {#ids, pairs_of(requests), pairs_of(tenants)}
