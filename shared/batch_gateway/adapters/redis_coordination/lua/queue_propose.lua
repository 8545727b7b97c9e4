-- Choose the next shard and hide it for a while.
-- KEYS  1 the queue's root
-- ARGV  1 how long in ms, 2 models allowed as a JSON list or '' for all; models left out as JSON
--       lists or '' for all: 3 in the fair lane, 4 in the urgent one; as JSON lists: 5 models of
--       3 of which the fair lane proposes work of other tenants than those in 6, 7 batches of which
--       nothing is proposed
-- Returns {queue entry as JSON, whether its batch is urgent (0 or 1)}, or nil when nothing is ready.
local URGENT_RUN = 3 -- urgent proposals in a row before there is a fair one
-- How far the urgent lane may carry a tenant ahead of those that it competes with, in shards of the
-- size of the next one. Beyond that its urgent work waits for its turn in the fair lane, so near
-- deadlines change when a tenant is served but not how much it gets.
local URGENT_ADVANCE = 8
local MOST_LOOKS = 512 -- tenants of the urgent lane that one call looks at

recover()
promote()

local function set_of(list)
  local set, count = {}, 0
  for _, one in ipairs(list) do
    if not set[one] then count = count + 1 end
    set[one] = true
  end
  return set, count
end

local passed_over, passed_count = set_of(cjson.decode(ARGV[7]))
local allowed = ARGV[2] ~= '' and cjson.decode(ARGV[2]) or nil
local is_allowed = allowed and set_of(allowed)

-- The models to choose from, given those that are left out; nil: there are too many to list.
local function except(avoid, count)
  if not allowed and redis.call('SCARD', key('models')) > MOST_MODELS + count then return nil end
  local models = {}
  for _, model in ipairs(allowed or redis.call('SMEMBERS', key('models'))) do
    if not avoid[model] then models[#models + 1] = model end
  end
  return models
end

-- The better one of two heads: lower score, then batch, then plan order.
local function better(a, b)
  if not b then return a end
  if not a then return b end
  if a.score ~= b.score then return a.score < b.score and a or b end
  if a.batch ~= b.batch then return a.batch < b.batch and a or b end
  return a.index < b.index and a or b
end

-- The first shard of the first of a sorted set of batches that is not passed over: a table, or nil.
local function first_of(batches, model)
  local found = redis.call('ZRANGE', batches, 0, passed_count, 'WITHSCORES')
  local batch, score
  for i = 1, #found, 2 do
    if not passed_over[found[i]] then
      batch, score = found[i], found[i + 1]
      break
    end
  end
  if not batch then return nil end
  local first = redis.call('ZRANGE', key('stream', batch, model), 0, 0, 'WITHSCORES')
  if not first[1] then -- left behind by a release that keeps the index otherwise
    redis.call('ZREM', batches, batch)
    return nil
  end
  return {
    score = tonumber(score), batch = batch, index = tonumber(first[2]), shard = first[1],
    model = model,
  }
end

-- Urgent lane ----------------------------------------------------------------------------------

-- Whether the urgent lane may serve this shard: its tenant is not too far ahead of the others.
local function may_hurry(tenant, model, shard)
  local time = redis.call('ZSCORE', key('active'), tenant)
  local _, least = first_tenant(model, {}, 0)
  local text = redis.call('HGET', key('tickets'), shard)
  if not (time and least and text) then return true end
  local weight = tonumber(redis.call('HGET', key('weights'), tenant) or 1)
  return tonumber(time) - least <= URGENT_ADVANCE * math.max(read(text).cost, 1) / weight
end

-- The urgent shard of a model with the earliest deadline that may be served now, or nil.
local function urgent_of(model, looks)
  for _, tenant in ipairs(redis.call('ZRANGE', key('urgent-tenants', model), 0, looks - 1)) do
    looks = looks - 1
    local found = first_of(key('urgent-batches', tenant, model), model)
    if found and may_hurry(tenant, model, found.shard) then return found, looks end
  end
  return nil, looks
end

local function urgent_head(left_out)
  if left_out == '' then return nil end
  local avoid, count = set_of(cjson.decode(left_out))
  local best, looks = nil, MOST_LOOKS
  local models = redis.call('ZRANGE', key('urgent-models'), 0, MOST_MODELS + count, 'WITHSCORES')
  for i = 1, #models, 2 do
    local model = models[i]
    if looks <= 0 or (best and tonumber(models[i + 1]) > best.score) then break end
    if not avoid[model] and not (is_allowed and not is_allowed[model]) then
      local found
      found, looks = urgent_of(model, looks)
      best = better(found, best)
    end
  end
  return best
end

-- Fair lane --------------------------------------------------------------------------------------

-- The best shard of the tenant whose turn it is, among these models, and the tenant. Of `sated` models
-- only the work of tenants counts that are not in `held`. Tenants in `done` are passed over; `count`
-- and `those` say how many there are in `held` and in both.
local function turn_by_models(models, sated, held, done, count, those)
  local tenant, least = nil, nil
  local function consider(model, skipped, of_them)
    local name, time = first_tenant(model, skipped, of_them)
    if time and (not least or time < least or (time == least and name < tenant)) then
      tenant, least = name, time
    end
  end
  local either = {}
  for _, some in ipairs({ held, done }) do
    for name in pairs(some) do either[name] = true end
  end
  for _, model in ipairs(models) do consider(model, done, those - count) end
  for _, model in ipairs(sated) do consider(model, either, those) end
  local best = nil
  local function add(some)
    for _, model in ipairs(some) do best = better(first_of(key('rank', tenant, model), model), best) end
  end
  if tenant then
    add(models)
    if not held[tenant] then add(sated) end
  end
  return best, tenant
end

-- The same; a tenant all of whose batches are passed over leaves its turn to the next one.
local function fair_by_models(models, sated, held, count)
  local done = {}
  for turn = 0, passed_count do
    local best, tenant = turn_by_models(models, sated, held, done, count, count + turn)
    if best or not tenant then return best end
    done[tenant] = true
  end
  return nil
end

-- The same among all models but those that are avoided, walking through the tenants.
local function fair_by_tenants(avoid, count, is_sated, held)
  local tenants = redis.call('ZRANGE', key('active'), 0, MOST_TENANTS - 1)
  for _, tenant in ipairs(tenants) do
    for _, model in ipairs(redis.call('ZRANGE', key('heads', tenant), 0, count)) do
      if not avoid[model] or (is_sated[model] and not held[tenant]) then
        local found = first_of(key('rank', tenant, model), model)
        if found then return found end
      end
    end
  end
  return nil
end

local function fair_head(left_out, sated, held)
  if left_out == '' then return nil end
  local avoid, count = set_of(cjson.decode(left_out))
  local is_held, holders = set_of(held)
  local models = except(avoid, count)
  if models then return fair_by_models(models, sated, is_held, holders) end
  local found = fair_by_tenants(avoid, count, set_of(sated), is_held)
  if found then return found end
  local some = {} -- whatever the walk did not reach
  for _, model in ipairs(redis.call('SRANDMEMBER', key('models'), MOST_MODELS)) do
    if not avoid[model] then some[#some + 1] = model end
  end
  return fair_by_models(some, sated, is_held, holders)
end

-- The lanes take turns; where only the urgent one has anything, no turn is used up.
local choice = urgent_head(ARGV[4])
local run = tonumber(redis.call('HGET', key('state'), 'urgent_run') or 0)
if choice and run < URGENT_RUN then
  redis.call('HSET', key('state'), 'urgent_run', run + 1)
else
  local fair = fair_head(ARGV[3], cjson.decode(ARGV[5]), cjson.decode(ARGV[6]))
  if fair then redis.call('HSET', key('state'), 'urgent_run', 0) end
  choice = fair or choice
end
if not choice then return nil end

local text = redis.call('HGET', key('tickets'), choice.shard)
if not text then -- lost: the janitor queues the shard again
  redis.call('ZREM', key('stream', choice.batch, choice.model), choice.shard)
  return nil
end
local ticket = read(text)
local urgent = redis.call('HGET', key('batch', ticket.batch), 'urgent')
charge(ticket.tenant, ticket.cost, 1)
remove(choice.shard, ticket)
redis.call('ZADD', key('reserved'), now + ARGV[1], choice.shard)
return { text, tonumber(urgent) }
