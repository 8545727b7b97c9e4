-- Report what one holder saw and learn what he may use.
-- KEYS  1 the slots' root, 2 the generation
-- ARGV  1 pool, 2 holder, 3 want, 4 in use, 5 successes, 6 dropped, 7 ignored, 8 brake or '',
--       9 lifetime of the grant in ms, 10 controller interval in ms, 11 limit of a new pool,
--       12 ms after which an idle pool is forgotten
-- Returns {grant, limit, slow start, last brake or '', slots wanted by all, generation or nil,
--          version, observation or nil}, the observation {successes, dropped, ignored, in flight, brake or ''}
--          being all that was seen since the last one: whoever is given it must fold it.
--
-- pools         zset  pool by the instant in ms when it is forgotten
-- limit:POOL    hash  limit, slow_start, last_brake, version; folded_at; what was seen since
-- holders:POOL  hash  holder -> "expiry:slots:want:in use", slots being the greater of granted
--                     and in use
local root, pool, me = KEYS[1], ARGV[1], ARGV[2]
local want, in_use, ttl = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[9])
local state, holders = root .. ':limit:' .. pool, root .. ':holders:' .. pool
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Largest shares of which nobody gets more than he wants: the modest first, what they leave is
-- for the others. An indivisible rest goes to those who have most already, so that it stays put.
local function fair_share(limit, all)
  table.sort(all, function(a, b)
    if a.want ~= b.want then return a.want < b.want end
    if a.slots ~= b.slots then return a.slots < b.slots end
    return a.name < b.name
  end)
  local rest = limit
  for i, one in ipairs(all) do
    local share = math.min(one.want, math.floor(rest / (#all - i + 1)))
    if one.name == me then return share end
    rest = rest - share
  end
end

-- Everybody who is alive, myself as of now.
local all, others, running, wanted = {}, 0, in_use, math.max(want, in_use)
local mine = { name = me, want = math.max(want, in_use), slots = 0 }
local entries = redis.call('HGETALL', holders)
for i = 1, #entries, 2 do
  local name = entries[i]
  local expiry, slots, wants, uses = string.match(entries[i + 1], '(%d+):(%d+):(%d+):(%d+)')
  slots, wants, uses = tonumber(slots), tonumber(wants), tonumber(uses)
  if name == me then
    if tonumber(expiry) > now then mine.slots = slots end
  elseif tonumber(expiry) <= now then
    redis.call('HDEL', holders, name)
  else
    all[#all + 1] = { name = name, want = wants, slots = slots }
    others = others + slots
    running = running + uses
    wanted = wanted + math.max(wants, slots)
  end
end
all[#all + 1] = mine

local known = redis.call('HMGET', state, 'limit', 'slow_start', 'last_brake', 'version', 'folded_at')
local limit = known[1] or ARGV[11]
local whole = math.max(1, math.floor(tonumber(limit))) -- as core.limits.slots
local generation = redis.call('HMGET', KEYS[2], 'id', 'planted_ms', 'settled')

-- After a wipe calls may be running that nobody has told of yet. For the lifetime of a grant
-- holders get no more than what they say is running; then whoever is silent has no calls.
local settled = generation[1]
  and (generation[3] == '1' or tonumber(generation[2]) + ttl <= now)
local share = settled and fair_share(whole, all) or in_use
local grant = math.max(0, math.min(share, whole - others))
redis.call('HSET', holders, me, string.format('%.0f:%.0f:%.0f:%.0f',
  now + ttl, math.max(grant, in_use), mine.want, in_use))

local seen = { successes = ARGV[5], dropped = ARGV[6], ignored = ARGV[7] }
for name, count in pairs(seen) do
  if tonumber(count) > 0 then redis.call('HINCRBY', state, name, count) end
end
if ARGV[8] ~= '' then redis.call('HSET', state, 'brake', ARGV[8]) end

local observation = false
if now - tonumber(known[5] or 0) >= tonumber(ARGV[10]) then
  local sums = redis.call('HMGET', state, 'successes', 'dropped', 'ignored', 'brake')
  observation = {
    tonumber(sums[1] or 0), tonumber(sums[2] or 0), tonumber(sums[3] or 0), running, sums[4] or '',
  }
  redis.call('HDEL', state, 'successes', 'dropped', 'ignored', 'brake')
  redis.call('HSET', state, 'folded_at', string.format('%.0f', now))
end

local memory = tonumber(ARGV[12])
redis.call('PEXPIRE', state, memory)
redis.call('PEXPIRE', holders, memory)
redis.call('ZADD', root .. ':pools', now + memory, pool)

return {
  grant, limit, known[2] or '1', known[3] or '', wanted,
  generation[1], known[4] or '0', observation,
}
