-- What every script of this package starts with: Python puts it in front of them.
--
-- KEYS[1]  root of all keys; its hash tag keeps them on one node. key() makes the other names.
-- ARGV[1]  JSON object with what the script's header lists under ARGS. Numbers and instants come
--          as decimal strings and stored JSON as opaque strings, so neither Lua's doubles nor
--          cjson ever change one. What is None is left out.
--
-- Redis does not undo a script that fails half-way: each one checks first and then only writes.
--
-- Instants are whole microseconds since the epoch. A double holds them exactly until 2255.
-- Python also puts the table PRECONDITIONS (batch_gateway.core.transitions) in front of this.

local ROOT = KEYS[1]
local args = cjson.decode(ARGV[1])

local function key(...)
  return table.concat({ROOT, ...}, ':')
end

-- The length keeps tenants apart whatever their names contain.
local function tenant_key(kind, tenant, ...)
  return key(kind, #tenant, tenant, ...)
end

local function database_time()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function keep(index, member, score, belongs)
  if belongs then
    redis.call('ZADD', index, score, member)
  else
    redis.call('ZREM', index, member)
  end
end

-- Hashes ------------------------------------------------------------------------------------------

local function load_row(kind, id)
  local flat = redis.call('HGETALL', key(kind, id))
  if #flat == 0 then return nil end
  local row = {}
  for i = 1, #flat, 2 do row[flat[i]] = flat[i + 1] end
  return row
end

local function store(kind, row)
  local flat = {}
  for field, value in pairs(row) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  redis.call('HSET', key(kind, row.id), unpack(flat))
end

local function update(batch, changes)
  for field, value in pairs(changes) do batch[field] = value end
  changes.id = batch.id
  store('batch', changes)
end

local function clear(batch, ...)
  for _, field in ipairs({...}) do batch[field] = nil end
  redis.call('HDEL', key('batch', batch.id), ...)
end

local function row_of(batch)
  return redis.call('HGETALL', key('batch', batch.id))
end

-- The error that Python raises as Conflict; nil while the id is free.
local function taken(kind, id)
  if redis.call('EXISTS', key(kind, id)) == 0 then return nil end
  return redis.error_reply('CONFLICT there is a ' .. kind .. ' ' .. id .. ' already')
end

-- Accounts: what each tenant has -----------------------------------------------------------------

-- The error that Python raises as OverQuota, when `added` {name: amount} would be beyond
-- args.quotas {name: most}; nil when all is well.
local function over_quota(tenant, added)
  for name, limit in pairs(args.quotas or {}) do
    local more = tonumber(added[name] or '0')
    local has = tonumber(redis.call('HGET', tenant_key('account', tenant), name) or '0')
    if more > 0 and has + more > tonumber(limit) then
      return redis.error_reply('OVERQUOTA ' .. name .. ' ' .. limit)
    end
  end
  return nil
end

-- Add to the tenant's account, or take from it when `sign` is -1.
local function book(tenant, added, sign)
  for name, amount in pairs(added) do
    redis.call('HINCRBY', tenant_key('account', tenant), name,
      string.format('%d', tonumber(amount) * (sign or 1)))
  end
end

local function of_file(file)
  return {files = '1', stored_bytes = file.size}
end

-- What a batch has until it has ended.
local function of_open(batch)
  return {open_batches = '1', queued_requests = batch.total}
end

-- Files -------------------------------------------------------------------------------------------

local function padded(instant)
  return string.rep('0', 20 - #instant) .. instant
end

-- Listings are ordered by bytes, so the creation time goes in front with a fixed width.
local function listed(row)
  return padded(row.created_at) .. ':' .. row.id
end

local function file_listings(file)
  return tenant_key('files-of', file.tenant), tenant_key('files-of', file.tenant, file.purpose)
end

local function add_file(file)
  store('file', file)
  for _, listing in ipairs({file_listings(file)}) do
    redis.call('ZADD', listing, 0, listed(file))
  end
  if file.expires_at then redis.call('ZADD', key('files-by-expiry'), file.expires_at, file.id) end
  book(file.tenant, of_file(file))
end

-- Uploads ----------------------------------------------------------------------------------------

-- The row of an upload of the tenant that takes parts, whether or not it has expired; or nil.
local function pending_upload(tenant, id)
  local upload = load_row('upload', id)
  if upload and upload.tenant == tenant and upload.status == 'pending' then return upload end
  return nil
end

-- The parts of a pending upload are its tenant's no more.
local function release_parts(upload)
  book(upload.tenant, {stored_bytes = upload.stored}, -1)
end

-- End a pending upload. Returns the row as it is then.
local function end_upload(upload, changes)
  release_parts(upload)
  changes.id = upload.id
  store('upload', changes)
  redis.call('UNLINK', key('upload-parts', upload.id))
  return redis.call('HGETALL', key('upload', upload.id))
end

-- Batches -----------------------------------------------------------------------------------------

local function open_shards(batch)
  return tonumber(batch.open_shards)
end

-- Whether the state of a batch allows a change (a key of PRECONDITIONS).
local function allows(batch, change)
  local must = PRECONDITIONS[change]
  return must.statuses[batch.status]
    and (not must.endings or must.endings[batch.ending or ''])
    and (not must.open_shards or open_shards(batch) == must.open_shards)
    and (not must.paused or batch.paused == must.paused)
end

-- Put a batch into the sweeps' indexes that its present fields call for, and out of the others.
-- Every script that changes a batch, or which of its shards are ready, calls it once at its end.
local function reindex(batch)
  local id = batch.id
  keep(key('batches-by-deadline'), id, batch.deadline, allows(batch, 'expire'))
  keep(key('batches-by-fence'), id, batch.fence_at or 0,
    batch.fence_at and open_shards(batch) > 0)
  keep(key('batches-stranded'), id, batch.status_since, allows(batch, 'finalize'))
  keep(key('batches-ended'), id, batch.status_since,
    allows(batch, 'delete') and not batch.swept)
  keep(key('batches-runnable'), id, 0,
    allows(batch, 'lease') and redis.call('EXISTS', key('ready', id)) == 1)
end

-- Change the status. The caller has checked that the present one allows it. A batch that has ended
-- keeps no secret.
local function move(batch, to, now)
  if PRECONDITIONS.delete.statuses[to] then clear(batch, 'sealed') end
  redis.call('ZREM', key('batches-by-status', batch.status), batch.id)
  redis.call('ZADD', key('batches-by-status', to), now, batch.id)
  update(batch, {status = to, status_since = now, [to .. '_at'] = now})
end

-- Record that `count` open shards were closed, which moves a running batch on when none is left.
-- Returns whether none is left.
local function shards_closed(batch, count, now)
  local fewer = string.format('%d', -count)  -- Lua's own text for minus nothing is "-0"
  batch.open_shards = tostring(
    redis.call('HINCRBY', key('batch', batch.id), 'open_shards', fewer))
  local none_left = open_shards(batch) == 0
  if none_left and batch.status == 'in_progress' then move(batch, 'finalizing', now) end
  return none_left
end

-- Close the ready shards. That is all there is to it: a shard that is neither ready nor leased is
-- closed. Returns how many there were.
local function close_ready(batch)
  local ready = key('ready', batch.id)
  local count = redis.call('ZCARD', ready)
  redis.call('UNLINK', ready)
  return count
end

-- Add an integer of 64 bits to a field of a batch; a sum that does not fit stays at the largest one.
local function add_to(name, field, amount)
  local added = redis.pcall('HINCRBY', name, field, amount)
  if type(added) == 'table' and added.err then
    redis.call('HSET', name, field, '9223372036854775807')
  end
end

local function add_amount(batch_id, field, amount)
  add_to(key('batch', batch_id), field, amount)
end

-- Keep args.report {summary, usage [{tenant, day, name, amounts {field: amount}}]} of a batch that
-- ends: its summary goes with it, its usage stays. Absent: nothing is kept.
local function keep_report(batch)
  if not args.report then return end
  redis.call('SET', key('summary', batch.id), args.report.summary)
  for _, record in ipairs(args.report.usage) do
    local sums = tenant_key('usage', record.tenant, record.day)
    for field, amount in pairs(record.amounts) do
      add_to(sums, field .. ':' .. record.name, amount)
    end
    if next(record.amounts) then
      redis.call('ZADD', key('usage-days'), 0, record.day .. ':' .. record.tenant)
    end
  end
end

local TALLY_FIELDS = {'completed', 'failed'}
local USAGE_FIELDS = {'input_tokens', 'cached_tokens', 'output_tokens', 'reasoning_tokens'}

-- Whether one decimal number is greater than another: beyond 2^53 Lua's own numbers would err.
local function greater(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

-- Shards: all of a batch's in one hash with fields such as `7.epoch` ---------------------------------

local SHARD_FIELDS = {
  'plan', 'epoch', 'token', 'holder', 'leased_at', 'parts', 'tally', 'statistics'}

local function shard_id(batch_id, index)
  return batch_id .. '.' .. index
end

local function shard_get(batch_id, index, field)
  return redis.call('HGET', key('shards', batch_id), index .. '.' .. field)
end

local function shard_set(batch_id, index, changes)
  local flat = {}
  for field, value in pairs(changes) do
    flat[#flat + 1] = index .. '.' .. field
    flat[#flat + 1] = value
  end
  redis.call('HSET', key('shards', batch_id), unpack(flat))
end

local function is_ready(batch_id, index)
  return redis.call('ZSCORE', key('ready', batch_id), index) ~= false
end

local function is_leased(batch_id, index)
  return redis.call('ZSCORE', key('leases'), shard_id(batch_id, index)) ~= false
end

local function shard_state(batch_id, index)
  if is_ready(batch_id, index) then return 'ready' end
  if is_leased(batch_id, index) then return 'leased' end
  return 'closed'
end

-- Index, state and SHARD_FIELDS of a shard that exists.
local function shard_row(batch_id, index)
  local names = {}
  for i, field in ipairs(SHARD_FIELDS) do names[i] = index .. '.' .. field end
  local fields = redis.call('HMGET', key('shards', batch_id), unpack(names))
  return {index, shard_state(batch_id, index), unpack(fields)}
end

-- Whether `lease` {batch, index, epoch, token} is still the shard's.
local function holds(lease)
  return is_leased(lease.batch, lease.index)
    and shard_get(lease.batch, lease.index, 'epoch') == lease.epoch
    and shard_get(lease.batch, lease.index, 'token') == lease.token
end

-- Lease a shard to args.holder under the next epoch and args.token.
-- Returns {the shard's row, the batch's row, the present}.
local function grant(batch, index)
  local known = shard_get(batch.id, index, 'epoch')
  if known and not string.match(known, '^%d+$') then
    shard_set(batch.id, index, {epoch = '2147483646'})  -- greater than any that it has had
  end
  redis.call('HINCRBY', key('shards', batch.id), index .. '.epoch', 1)
  shard_set(batch.id, index, {token = args.token, holder = args.holder, leased_at = args.now})
  redis.call('ZREM', key('ready', batch.id), index)
  redis.call('SADD', key('leased', batch.id), index)
  redis.call('ZADD', key('leases'), args.now, shard_id(batch.id, index))
  reindex(batch)
  return {shard_row(batch.id, index), row_of(batch), string.format('%.0f', database_time())}
end

local function end_lease(batch_id, index)
  redis.call('HDEL', key('shards', batch_id), index .. '.holder', index .. '.leased_at')
  redis.call('SREM', key('leased', batch_id), index)
  redis.call('ZREM', key('leases'), shard_id(batch_id, index))
end

-- Record a tally {completed, failed, input_tokens, ...} of a shard: of the amounts that are known and
-- the new ones the greater are kept, and the batch's fields grow by the difference. An empty tally
-- changes nothing. Of the statistics those of more lines are kept. Returns whether anything changed.
local function record_tally(batch_id, index, tally)
  if not next(tally) then return false end
  local known = shard_get(batch_id, index, 'tally') or ''
  local changed, parts, lines = false, {{}, {}}, {0, 0}
  for part, fields in ipairs({TALLY_FIELDS, USAGE_FIELDS}) do
    for _, field in ipairs(fields) do
      local old = string.match(known, '"' .. field .. '":(%d+)') or '0'
      local new = tally[field]
      local kept = greater(new, old) and new or old
      if part == 1 then lines = {lines[1] + old, lines[2] + new} end
      if known == '' or kept ~= old then
        changed = true
        if old ~= '0' then add_amount(batch_id, field, '-' .. old) end
        add_amount(batch_id, field, kept)
      end
      table.insert(parts[part], '"' .. field .. '":' .. kept)
    end
  end
  if changed then
    shard_set(batch_id, index, {tally = '{' .. table.concat(parts[1], ',')
      .. ',"usage":{' .. table.concat(parts[2], ',') .. '}}'})
  end
  if tally.statistics and lines[2] >= lines[1] then
    if shard_get(batch_id, index, 'statistics') ~= tally.statistics then
      changed = true
      shard_set(batch_id, index, {statistics = tally.statistics})
    end
  end
  return changed
end

-- Webhooks ----------------------------------------------------------------------------------------

local function deliveries_of(row)
  return tenant_key('webhook-deliveries-of', row.tenant, row.endpoint)
end

local function drop_delivery(id)
  local row = load_row('webhook-delivery', id)
  if row then redis.call('ZREM', deliveries_of(row), listed(row)) end
  redis.call('DEL', key('webhook-delivery', id))
  redis.call('ZREM', key('webhook-deliveries-due'), id)
  redis.call('ZREM', key('webhook-deliveries-by-age'), id)
end

-- Outbox ------------------------------------------------------------------------------------------

-- Write args.events; one whose id is already there stays as it is.
local function write_events(now)
  for _, event in ipairs(args.events) do
    if redis.call('HSETNX', key('outbox'), event.id, event.body) == 1 then
      redis.call('ZADD', key('outbox-unsent'), now, event.id)
    end
  end
end

-- Close the shard of the lease args.lease with args.parts and args.tally, and write args.events
-- when it was the last. Returns {'1' if it was the last else '0', the batch's row}.
local function close_leased(batch)
  local lease = args.lease
  end_lease(lease.batch, lease.index)
  shard_set(lease.batch, lease.index, {parts = args.parts})
  record_tally(lease.batch, lease.index, args.tally)
  local last = shards_closed(batch, 1, args.now)
  if last then write_events(args.now) end
  reindex(batch)
  return {last and '1' or '0', row_of(batch)}
end
