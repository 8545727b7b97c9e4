-- The index of ready shards: what all queue scripts share, put before each of them.
--
-- KEYS  1 the queue's root; all other keys are derived from it (one hash tag: one cluster node)
--
-- tickets               hash  shard -> queue entry as JSON, for every shard that is known here
-- reserved, leased      zset  shard by the instant in ms when its reservation or lease runs out
-- leases                hash  shard -> "epoch:token", the token left out once that lease is over
-- stream:BATCH:MODEL    zset  ready shard by index
-- batch:BATCH           hash  tenant, rank, deadline, urgent_after, urgent (0 or 1)
-- batch-models:BATCH    set   models with a stream
-- costs:BATCH           hash  model -> cost of its ready shards
-- rank:TENANT:MODEL     zset  batch by priority, then deadline
-- tenant-models:TENANT  set   models with a rank
-- heads:TENANT          zset  model with a rank by the lowest score in that rank
-- present:MODEL         zset  tenant with a rank by virtual time; the time may be out of date: too low
--                             (corrected when it is read) or, of a tenant with many models, too
--                             high by a refund (until its next charge)
-- urgent-batches:TENANT:MODEL  zset  urgent batch by deadline
-- urgent-tenants:MODEL  zset  tenant by its first urgent deadline
-- urgent-models         zset  model by its first urgent deadline
-- models                set   with anything ready
-- deadlines             zset  batch with ready shards by deadline
-- soon                  zset  batch by the instant in ms when it becomes urgent
-- active, dormant       zset  tenant with and without ready shards by virtual time
-- weights               hash  tenant -> weight, where it is not 1
-- state                 hash  ready (count), clock (virtual time when the last tenant left),
--                             urgent_run (urgent proposals since the last fair one)
--
-- The first element of present:MODEL is the tenant whose turn it is, the first of its
-- rank:TENANT:MODEL its best batch, the first of its stream the shard. So a choice costs a few
-- look-ups per model, however long the queue is. Where there are more than MOST_MODELS models, the
-- tenants are walked through by virtual time instead, and the first of heads:TENANT is the model.
-- A key exists only while it has elements.

local root = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local MOST = 32 -- overdue elements that one call cleans up
local MOST_MODELS = 128 -- models that one call looks at one by one
local MOST_TENANTS = 1000 -- tenants that one call looks at one by one

-- The length keeps ('a:b', 'c') and ('a', 'b:c') apart.
local function key(name, a, b)
  if b then return root .. ':' .. name .. ':' .. #a .. ':' .. a .. ':' .. b end
  if a then return root .. ':' .. name .. ':' .. a end
  return root .. ':' .. name
end

local function exists(name)
  return redis.call('EXISTS', name) == 1
end

-- The lowest score of a sorted set as a number; nil when it is empty.
local function lowest(name)
  return tonumber(redis.call('ZRANGE', name, 0, 0, 'WITHSCORES')[2])
end

-- Microseconds (tickets) to milliseconds (scores).
local function ms(us)
  return math.floor(us / 1000)
end

-- Virtual time -------------------------------------------------------------------------------

-- Move a tenant's virtual time by the cost of a shard; what is negative is a refund.
local function charge(tenant, cost, share)
  local weight = tonumber(redis.call('HGET', key('weights'), tenant) or 1)
  local amount = share * math.max(cost, 1) / weight
  if redis.call('ZSCORE', key('active'), tenant) then
    local time = redis.call('ZINCRBY', key('active'), amount, tenant)
    local models = key('tenant-models', tenant)
    if share < 0 and redis.call('SCARD', models) <= MOST_MODELS then
      for _, model in ipairs(redis.call('SMEMBERS', models)) do
        redis.call('ZADD', key('present', model), time, tenant)
      end
    end
  elseif redis.call('ZSCORE', key('dormant'), tenant) then
    redis.call('ZINCRBY', key('dormant'), amount, tenant)
  end
end

-- The tenant of a model whose turn it is, and its virtual time; those in `skipped`, of which there
-- are `count`, are passed over. Times that are out of date are corrected on the way.
local function first_tenant(model, skipped, count)
  local present = key('present', model)
  for look = 1, MOST_TENANTS do
    local standing, stale = redis.call('ZRANGE', present, 0, count, 'WITHSCORES'), false
    for i = 1, #standing, 2 do
      local tenant, time = standing[i], tonumber(standing[i + 1])
      if not skipped[tenant] then
        local active = redis.call('ZSCORE', key('active'), tenant)
        if not active or tonumber(active) <= time or look == MOST_TENANTS then
          return tenant, time
        end
        redis.call('ZADD', present, active, tenant)
        stale = true
        break
      end
    end
    if not stale then return nil end
  end
end

-- A tenant has its first ready shard of a model. If it had none at all it starts at the smallest
-- virtual time of those that it competes with, unless it is further along itself.
local function enter(tenant, model)
  local time = redis.call('ZSCORE', key('active'), tenant)
  if not time then
    local clock = tonumber(redis.call('HGET', key('state'), 'clock') or 0)
    local _, least = first_tenant(model, {}, 0)
    local start = least or lowest(key('active')) or clock
    local own = tonumber(redis.call('ZSCORE', key('dormant'), tenant) or start)
    time = math.max(own, start)
    redis.call('ZREM', key('dormant'), tenant)
    redis.call('ZADD', key('active'), time, tenant)
  end
  redis.call('ZADD', key('present', model), time, tenant)
  redis.call('SADD', key('models'), model)
end

local function leave(tenant, model)
  redis.call('ZREM', key('present', model), tenant)
  if not exists(key('present', model)) then redis.call('SREM', key('models'), model) end
  redis.call('SREM', key('tenant-models', tenant), model)
  if exists(key('tenant-models', tenant)) then return end
  local time = redis.call('ZSCORE', key('active'), tenant)
  redis.call('ZREM', key('active'), tenant)
  redis.call('ZADD', key('dormant'), time, tenant)
  -- A tenant that is not ahead of all present ones would start there anyway: do not store it.
  local floor = lowest(key('active'))
  if not floor then
    local clock = tonumber(redis.call('HGET', key('state'), 'clock') or 0)
    floor = math.max(clock, tonumber(time))
    redis.call('HSET', key('state'), 'clock', string.format('%.17g', floor))
  end
  redis.call('ZREMRANGEBYSCORE', key('dormant'), '-inf', floor)
end

-- Batches ------------------------------------------------------------------------------------

-- Let the sorted set `index` name `member` by the lowest score of the sorted set `of`.
local function name_by_lowest(index, member, of)
  local least = redis.call('ZRANGE', of, 0, 0, 'WITHSCORES')[2]
  if least then
    redis.call('ZADD', index, least, member)
  else
    redis.call('ZREM', index, member)
  end
end

-- Put a batch into the urgent lane of a model, or take it out where `deadline` is nil.
local function hurry(batch, tenant, model, deadline)
  local batches = key('urgent-batches', tenant, model)
  if deadline then
    redis.call('ZADD', batches, deadline, batch)
  elseif redis.call('ZREM', batches, batch) == 0 then
    return
  end
  name_by_lowest(key('urgent-tenants', model), tenant, batches)
  name_by_lowest(key('urgent-models'), model, key('urgent-tenants', model))
end

-- Put a batch's stream of one model where the batch stands.
local function place(batch, model)
  local record = redis.call('HMGET', key('batch', batch), 'tenant', 'rank', 'deadline', 'urgent')
  local rank = key('rank', record[1], model)
  redis.call('ZADD', rank, record[2], batch)
  name_by_lowest(key('heads', record[1]), model, rank)
  hurry(batch, record[1], model, record[4] == '1' and record[3] or nil)
end

local function place_all(batch)
  for _, model in ipairs(redis.call('SMEMBERS', key('batch-models', batch))) do
    place(batch, model)
  end
end

-- Let a batch be urgent from an instant in ms on; -1: never. Returns whether its lane changes.
local function urge(batch, urgent_after)
  local urgent = urgent_after >= 0 and urgent_after <= now
  local before = redis.call('HGET', key('batch', batch), 'urgent')
  redis.call('HSET', key('batch', batch),
    'urgent_after', string.format('%.0f', urgent_after), 'urgent', urgent and 1 or 0)
  if urgent_after >= 0 and not urgent then
    redis.call('ZADD', key('soon'), urgent_after, batch)
  else
    redis.call('ZREM', key('soon'), batch)
  end
  return (before == '1') ~= urgent
end

-- Note what a batch's place depends on, and move it if that has changed. A ticket that does not
-- say when it is urgent leaves that as it is.
local function describe(ticket)
  local record = key('batch', ticket.batch)
  local deadline = math.min(ms(ticket.deadline), 1e13 - 1)
  local rank = ticket.priority * 1e13 + deadline -- exact: far below 2^53
  local old = redis.call('HMGET', record, 'rank', 'urgent_after')
  local urgent_after = ticket.urgent_after and ms(ticket.urgent_after) or tonumber(old[2] or -1)
  if tonumber(old[1]) == rank and tonumber(old[2]) == urgent_after then return end
  redis.call('HSET', record,
    'tenant', ticket.tenant,
    'rank', string.format('%.0f', rank),
    'deadline', string.format('%.0f', deadline))
  redis.call('ZADD', key('deadlines'), deadline, ticket.batch)
  urge(ticket.batch, urgent_after)
  place_all(ticket.batch)
end

-- Move batches whose time has come into the urgent lane. The rest follows with the next call.
local function promote()
  local due = redis.call('ZRANGEBYSCORE', key('soon'), '-inf', now, 'LIMIT', 0, MOST)
  local placed = 0
  for _, batch in ipairs(due) do
    if placed > MOST_MODELS then return end
    placed = placed + redis.call('SCARD', key('batch-models', batch))
    redis.call('ZREM', key('soon'), batch)
    redis.call('HSET', key('batch', batch), 'urgent', 1)
    place_all(batch)
  end
end

-- Shards -------------------------------------------------------------------------------------

-- A ticket as a table; what is null in it is left out.
local function read(text)
  local ticket = cjson.decode(text)
  if ticket.urgent_after == cjson.null then ticket.urgent_after = nil end
  return ticket
end

-- Make a shard ready that is not.
local function insert(shard, text, ticket)
  redis.call('HSET', key('tickets'), shard, text)
  redis.call('HINCRBY', key('state'), 'ready', 1)
  redis.call('ZADD', key('stream', ticket.batch, ticket.model), ticket.index, shard)
  redis.call('HINCRBY', key('costs', ticket.batch), ticket.model, ticket.cost)
  if not exists(key('batch', ticket.batch)) then describe(ticket) end
  if redis.call('SADD', key('batch-models', ticket.batch), ticket.model) == 0 then return end
  place(ticket.batch, ticket.model)
  if redis.call('SADD', key('tenant-models', ticket.tenant), ticket.model) == 1 then
    enter(ticket.tenant, ticket.model)
  end
end

-- Take a shard out of the ready ones; false when it is not among them.
local function remove(shard, ticket)
  local batch, tenant, model = ticket.batch, ticket.tenant, ticket.model
  local stream, rank = key('stream', batch, model), key('rank', tenant, model)
  if redis.call('ZREM', stream, shard) == 0 then return false end
  redis.call('HINCRBY', key('state'), 'ready', -1)
  redis.call('HINCRBY', key('costs', batch), model, 0 - ticket.cost)
  if exists(stream) then return true end
  redis.call('HDEL', key('costs', batch), model)
  redis.call('SREM', key('batch-models', batch), model)
  hurry(batch, tenant, model, nil)
  redis.call('ZREM', rank, batch)
  name_by_lowest(key('heads', tenant), model, rank)
  if not exists(key('batch-models', batch)) then
    redis.call('DEL', key('batch', batch))
    redis.call('ZREM', key('soon'), batch)
    redis.call('ZREM', key('deadlines'), batch)
  end
  if not exists(rank) then leave(tenant, model) end
  return true
end

-- Make shards ready again whose reservation ran out; nothing of them was served.
local function recover()
  local over = redis.call('ZRANGEBYSCORE', key('reserved'), '-inf', now, 'LIMIT', 0, MOST)
  for _, shard in ipairs(over) do
    redis.call('ZREM', key('reserved'), shard)
    local text = redis.call('HGET', key('tickets'), shard)
    if text then -- or it was lost: the janitor queues it again
      local ticket = read(text)
      charge(ticket.tenant, ticket.cost, -1)
      insert(shard, text, ticket)
    end
  end
end
