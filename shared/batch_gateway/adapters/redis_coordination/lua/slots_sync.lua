-- Report the observations of one holder about its pools; return its slots.
-- KEYS  1 the slots' root, 2 the generation
-- ARGV  1 holder, 2 lifetime of the grants in ms, 3 controller interval in ms, 4 limit of a new
--       pool, 5 ms after which an idle pool is forgotten, 6 ceiling of all pools together or 0,
--       7 ms for which a watch is kept without a word, 8 ms between samples of a pool, 9 how many
--       samples are kept; then for each pool:
--       pool, endpoint, ceiling of the endpoint or 0, ceiling of the pool or 0, want, in use,
--       aborted, successes, dropped, ignored, ms that the successes took, work that they did,
--       Retry-After in ms, signal or '', breaker
-- Returns {now in ms, generation or nil, answers}; an answer, in the order of the pools:
--         {grant, share, limit, learned or '', slots wanted by all, in flight, version, watch (0 or 1),
--          bound, observation or nil, in use of the other holders, slots on record of the other
--          holders, calls of all holders that were answered since the pool is known}.
--         The share is what the holder would have if no call were running; the bound is what
--         ceilings leave of the limit, or -1 for all of it. The observation is all that was seen
--         since the last one, and its receiver must fold it: {successes, dropped, ignored, ms, work, Retry-After in ms, signal or '', watched (0 or 1),
--         ms since the last one or nil, slots on record of all holders}.
--
-- pools         zset  pool by the instant in ms when it is forgotten
-- held          zset  pool by the instant in ms when the last grant of it runs out
-- limit:POOL    hash  limit, learned (what else core.limits knows), version; endpoint and its
--                     ceiling; breaker; folded_at; what was seen since; aborted and answered since the
--                     pool is known; signal and signal_at; watcher and watch_until; sampled_at
-- history:POOL  list  "instant in ms:limit:calls in flight", the last one at the end
-- holders:POOL  hash  holder -> "expiry:slots:want:in use", slots being the greater of granted
--                     and in use
local root, me = KEYS[1], ARGV[1]
local ttl, interval, memory, watch_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[7])
local sample_ms, samples = tonumber(ARGV[8]), tonumber(ARGV[9])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local FIELDS, FIRST = 15, 10

-- Max-min fair shares: no holder gets more than it wants; unused shares are divided among the others.
-- An indivisible rest goes to the holders with the most slots, so that it stays in place.
local function fair_shares(limit, all)
  table.sort(all, function(a, b)
    if a.want ~= b.want then return a.want < b.want end
    if a.slots ~= b.slots then return a.slots < b.slots end
    return a.name < b.name
  end)
  local rest, shares = limit, {}
  for i, one in ipairs(all) do
    local share = math.min(one.want, math.floor(rest / (#all - i + 1)))
    shares[one.name] = share
    rest = rest - share
  end
  return shares
end

-- A pool with all live holders; `mine` is what I report now, nil for a pool of others.
local function load(name, mine)
  local known = redis.call('HMGET', root .. ':limit:' .. name,
    'limit', 'learned', 'version', 'folded_at', 'endpoint', 'endpoint_ceiling', 'sampled_at')
  local pool = {
    name = name, limit = known[1] or ARGV[4], learned = known[2] or '', version = known[3] or '0',
    folded_at = tonumber(known[4] or 0), endpoint = known[5] or '',
    endpoint_ceiling = tonumber(known[6] or 0), sampled_at = tonumber(known[7] or 0),
    all = {}, others = 0, my_slots = 0, in_flight = 0, wanted = 0,
  }
  pool.whole = math.max(1, math.floor(tonumber(pool.limit))) -- as core.limits.slots
  local holders = root .. ':holders:' .. name
  local entries = redis.call('HGETALL', holders)
  for i = 1, #entries, 2 do
    local holder = entries[i]
    local expiry, slots, wants, uses = string.match(entries[i + 1], '(%d+):(%d+):(%d+):(%d+)')
    slots, wants, uses = tonumber(slots), tonumber(wants), tonumber(uses)
    if mine and holder == me then
      if tonumber(expiry) > now then pool.my_slots = slots end
    elseif tonumber(expiry) <= now then
      redis.call('HDEL', holders, holder)
    else
      pool.all[#pool.all + 1] = { name = holder, want = wants, slots = slots }
      pool.others = pool.others + slots
      pool.in_flight = pool.in_flight + uses
      pool.wanted = pool.wanted + math.max(wants, slots)
    end
  end
  if mine then
    pool.mine = mine
    pool.endpoint, pool.endpoint_ceiling = mine.endpoint, mine.endpoint_ceiling
    if mine.ceiling > 0 then pool.whole = math.min(pool.whole, mine.ceiling) end
    local want = math.max(mine.want, mine.in_use)
    pool.all[#pool.all + 1] = { name = me, want = want, slots = pool.my_slots }
    pool.in_flight = pool.in_flight + mine.in_use
    pool.wanted = pool.wanted + want
  end
  pool.within = pool.whole -- the limit within all ceilings
  return pool
end

local function recorded(pool)
  return pool.others + pool.my_slots
end

-- Lower `within` of these pools to their fair shares of a ceiling.
local function bound(pools, ceiling)
  local claims = {}
  for _, pool in ipairs(pools) do
    claims[#claims + 1] = {
      name = pool.name, want = math.min(pool.within, pool.wanted), slots = recorded(pool),
    }
  end
  local shares = fair_shares(ceiling, claims)
  for _, pool in ipairs(pools) do pool.within = math.min(pool.within, shares[pool.name]) end
end

-- My pools, and those of others as far as a ceiling makes us share with them.
local mine, all, by_name = {}, {}, {}
local total, bounded = tonumber(ARGV[6]), tonumber(ARGV[6]) > 0
for i = FIRST, #ARGV, FIELDS do
  local report = {
    endpoint = ARGV[i + 1], endpoint_ceiling = tonumber(ARGV[i + 2]), ceiling = tonumber(ARGV[i + 3]),
    want = tonumber(ARGV[i + 4]), in_use = tonumber(ARGV[i + 5]), first = i,
  }
  local pool = load(ARGV[i], report)
  bounded = bounded or report.endpoint_ceiling > 0
  mine[#mine + 1], all[#all + 1], by_name[pool.name] = pool, pool, pool
end
if bounded then
  -- Where very many pools are remembered, only those count that have a grant (`pools` counts for
  -- releases that do not write `held`).
  redis.call('ZREMRANGEBYSCORE', root .. ':held', '-inf', now)
  local known = redis.call('ZCOUNT', root .. ':pools', now, '+inf') <= 500 and ':pools' or ':held'
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', root .. known, now, '+inf')) do
    if not by_name[name] then all[#all + 1] = load(name) end
  end
  local endpoints = {}
  for _, pool in ipairs(all) do
    endpoints[pool.endpoint] = endpoints[pool.endpoint] or {}
    table.insert(endpoints[pool.endpoint], pool)
  end
  for _, pool in ipairs(all) do -- mine come first: what I say of a ceiling is the latest
    if endpoints[pool.endpoint] then
      if pool.endpoint_ceiling > 0 then bound(endpoints[pool.endpoint], pool.endpoint_ceiling) end
      endpoints[pool.endpoint] = nil
    end
  end
  if total > 0 then bound(all, total) end
end

-- What a ceiling leaves for my part of a pool: never more than what all others have on record.
local function left_by(ceiling, pool, same)
  if ceiling == 0 then return math.huge end
  local others = -pool.my_slots
  for _, one in ipairs(all) do
    if same(one) then others = others + recorded(one) end
  end
  return ceiling - others
end

-- After a wipe calls may be running that are not reported yet. For the lifetime of a grant holders
-- get no more than what they report as running; after that a holder without report has no calls.
local generation = redis.call('HMGET', KEYS[2], 'id', 'planted_ms', 'settled')
local settled = generation[1]
  and (generation[3] == '1' or tonumber(generation[2]) + ttl <= now)

local answers = {}
for _, pool in ipairs(mine) do
  local report, i = pool.mine, pool.mine.first
  local state, holders = root .. ':limit:' .. pool.name, root .. ':holders:' .. pool.name
  local share = fair_shares(pool.within, pool.all)[me]
  local grant = math.min(settled and share or report.in_use, pool.within - pool.others)
  if bounded then
    grant = math.min(grant,
      left_by(pool.endpoint_ceiling, pool, function(one) return one.endpoint == pool.endpoint end),
      left_by(total, pool, function() return true end))
  end
  grant = math.max(0, grant)
  pool.my_slots = math.max(grant, report.in_use)
  redis.call('HSET', holders, me, string.format('%.0f:%.0f:%.0f:%.0f',
    now + ttl, pool.my_slots, math.max(report.want, report.in_use), report.in_use))

  redis.call('HSET', state, 'endpoint', pool.endpoint, 'endpoint_ceiling', pool.endpoint_ceiling,
    'breaker', ARGV[i + 14])
  for n, name in ipairs({ 'aborted', 'successes', 'dropped', 'ignored', 'busy_ms', 'work' }) do
    local count = ARGV[i + 5 + n]
    if tonumber(count) > 0 then redis.call('HINCRBY', state, name, count) end
  end
  if tonumber(ARGV[i + 7]) > 0 then redis.call('HINCRBY', state, 'answered', ARGV[i + 7]) end
  local sums = redis.call('HMGET', state, 'successes', 'dropped', 'ignored', 'busy_ms', 'work')
  local seen = redis.call('HMGET', state,
    'retry_after', 'signal', 'signal_at', 'news', 'watcher', 'watch_until')
  if tonumber(ARGV[i + 12]) > tonumber(seen[1] or 0) then
    seen[1] = ARGV[i + 12]
    redis.call('HSET', state, 'retry_after', seen[1])
  end
  local news = ARGV[i + 13] ~= ''
  if news then
    seen[2], seen[3], seen[4] = ARGV[i + 13], now, '1'
    redis.call('HSET', state, 'signal', seen[2], 'signal_at', string.format('%.0f', now), 'news', '1')
  end
  local watch = seen[5] == me or now >= tonumber(seen[6] or 0)
  if watch then
    redis.call('HSET', state, 'watcher', me, 'watch_until', string.format('%.0f', now + watch_ms))
  end

  local observation = false
  if now - pool.folded_at >= interval or news then -- news do not wait
    observation = {
      tonumber(sums[1] or 0), tonumber(sums[2] or 0), tonumber(sums[3] or 0),
      tonumber(sums[4] or 0), tonumber(sums[5] or 0),
      tonumber(seen[1] or 0), seen[4] and seen[2] or '',
      seen[3] and now - tonumber(seen[3]) < watch_ms and 1 or 0,
      pool.folded_at > 0 and now - pool.folded_at,
      pool.others + pool.my_slots,
    }
    redis.call('HDEL', state,
      'successes', 'dropped', 'ignored', 'busy_ms', 'work', 'retry_after', 'news')
    redis.call('HSET', state, 'folded_at', string.format('%.0f', now))
  end
  if now - pool.sampled_at >= sample_ms then
    local history = root .. ':history:' .. pool.name
    redis.call('RPUSH', history,
      string.format('%.0f:%s:%.0f', now, pool.limit, pool.in_flight))
    redis.call('LTRIM', history, -samples, -1)
    redis.call('PEXPIRE', history, sample_ms * samples)
    redis.call('HSET', state, 'sampled_at', string.format('%.0f', now))
  end
  redis.call('PEXPIRE', state, memory)
  redis.call('PEXPIRE', holders, memory)
  redis.call('ZADD', root .. ':pools', now + memory, pool.name)
  redis.call('ZADD', root .. ':held', 'GT', now + ttl, pool.name)

  answers[#answers + 1] = {
    grant, share, pool.limit, pool.learned, pool.wanted, pool.in_flight, pool.version,
    watch and 1 or 0, pool.within < pool.whole and pool.within or -1, observation,
    pool.in_flight - report.in_use, pool.others,
    tonumber(redis.call('HGET', state, 'answered') or 0),
  }
end
return { now, generation[1], answers }
