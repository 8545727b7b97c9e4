-- Choose the next shard and hide it for a while.
-- KEYS  1 the queue's root
-- ARGV  1 how long in ms, 2 models allowed as a JSON list or '' for all; models left out as JSON
--       lists or '' for all: 3 in the fair lane, 4 in the urgent one
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

local function fair_head(models)
  local tenant, least = nil, nil
  for _, model in ipairs(models) do
    local first = redis.call('ZRANGE', key('present', model), 0, 0, 'WITHSCORES')
    local time = tonumber(first[2])
    if time and (not least or time < least or (time == least and first[1] < tenant)) then
      tenant, least = first[1], time
    end
  end
  return tenant and head(models, function(model) return key('rank', tenant, model) end)
end

-- The lanes take turns; where only the urgent one has anything, no turn is used up.
local choice = urgent_head(except(ARGV[4]))
local run = tonumber(redis.call('HGET', key('state'), 'urgent_run') or 0)
if choice and run < URGENT_RUN then
  redis.call('HSET', key('state'), 'urgent_run', run + 1)
else
  local fair = fair_head(except(ARGV[3]))
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
