-- Choose the next shard and hide it for a while.
-- KEYS  1 the queue's root
-- ARGV  1 how long in ms, 2 models allowed as a JSON list or '' for all; models left out as JSON
--       lists or '' for all: 3 in the fair lane, 4 in the urgent one; as JSON lists: 5 models of
--       3 of which the fair lane proposes work of other tenants than those in 6
-- Returns {ticket as JSON, whether its batch is urgent (0 or 1)}, or nil when nothing is ready.
local URGENT_RUN = 3 -- urgent proposals in a row before everybody else gets one

recover()
promote()

local all = ARGV[2] == '' and redis.call('SMEMBERS', key('models')) or cjson.decode(ARGV[2])

-- The models to choose from, given those that are left out.
local function except(left_out)
  if left_out == '' then return {} end
  local avoid, models = {}, {}
  for _, model in ipairs(cjson.decode(left_out)) do avoid[model] = true end
  for _, model in ipairs(all) do
    if not avoid[model] then models[#models + 1] = model end
  end
  return models
end

-- The better one of two heads: lower score, then batch, then plan order.
local function better(a, b)
  if not b then return a end
  if a.score ~= b.score then return a.score < b.score and a or b end
  if a.batch ~= b.batch then return a.batch < b.batch and a or b end
  return a.index < b.index and a or b
end

-- The best shard among the sorted sets of batches, one set per model: a table, or nil.
local function head(models, set_of)
  local best = nil
  for _, model in ipairs(models) do
    local batch = redis.call('ZRANGE', set_of(model), 0, 0, 'WITHSCORES')
    if batch[1] then
      local first = redis.call('ZRANGE', key('stream', batch[1], model), 0, 0, 'WITHSCORES')
      best = better({
        score = tonumber(batch[2]), batch = batch[1],
        index = tonumber(first[2]), shard = first[1],
      }, best)
    end
  end
  return best
end

local function urgent_head(models)
  return head(models, function(model) return key('urgent', model) end)
end

-- The tenant of a model whose turn it is, and his virtual time; those in `skipped` are passed over.
local function first_tenant(model, skipped, count)
  local standing = redis.call('ZRANGE', key('present', model), 0, count, 'WITHSCORES')
  for i = 1, #standing, 2 do
    if not skipped[standing[i]] then return standing[i], tonumber(standing[i + 1]) end
  end
end

-- The best shard of the tenant whose turn it is. Of `sated` models only the work of tenants counts
-- that are not in `held`.
local function fair_head(models, sated, held)
  local skipped = {}
  for _, tenant in ipairs(held) do skipped[tenant] = true end
  local tenant, least = nil, nil
  local function consider(model, passed_over, count)
    local name, time = first_tenant(model, passed_over, count)
    if time and (not least or time < least or (time == least and name < tenant)) then
      tenant, least = name, time
    end
  end
  for _, model in ipairs(models) do consider(model, {}, 0) end
  for _, model in ipairs(sated) do consider(model, skipped, #held) end
  if not tenant then return nil end
  local allowed = { unpack(models) }
  if not skipped[tenant] then
    for _, model in ipairs(sated) do allowed[#allowed + 1] = model end
  end
  return head(allowed, function(model) return key('rank', tenant, model) end)
end

-- The lanes take turns; where only the urgent one has anything, no turn is used up.
local choice = urgent_head(except(ARGV[4]))
local run = tonumber(redis.call('HGET', key('state'), 'urgent_run') or 0)
if choice and run < URGENT_RUN then
  redis.call('HSET', key('state'), 'urgent_run', run + 1)
else
  local fair = fair_head(except(ARGV[3]), cjson.decode(ARGV[5]), cjson.decode(ARGV[6]))
  if fair then redis.call('HSET', key('state'), 'urgent_run', 0) end
  choice = fair or choice
end
if not choice then return nil end

local text = redis.call('HGET', key('tickets'), choice.shard)
local ticket = read(text)
local urgent = redis.call('HGET', key('batch', ticket.batch), 'urgent')
charge(ticket.tenant, ticket.cost, 1)
remove(choice.shard, ticket)
redis.call('ZADD', key('reserved'), now + ARGV[1], choice.shard)
return { text, tonumber(urgent) }
