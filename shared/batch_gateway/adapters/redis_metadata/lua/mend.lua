-- Replace the rows of shards that cannot be decoded, close these shards, and count the open ones.
-- KEYS     the root
-- ARGS     batch, shards [{seen [index, state, SHARD_FIELDS ('' for nil)], fields {name: text}}],
--          now, events [{id, body}]
-- Returns  {'1' if the last open shard was closed else '0', the batch's row}; nil when there is
--          nothing to do: the batch has ended, or another has changed one of the shards meanwhile

local batch = load_row('batch', args.batch)
if not batch or allows(batch, 'delete') then return false end
for _, shard in ipairs(args.shards) do
  local present = shard_row(batch.id, shard.seen[1])
  for i, text in ipairs(shard.seen) do
    if (present[i] or '') ~= text then return false end
  end
end

for _, shard in ipairs(args.shards) do
  local index = shard.seen[1]
  redis.call('ZREM', key('ready', batch.id), index)
  end_lease(batch.id, index)
  shard_set(batch.id, index, shard.fields)
end
local before = open_shards(batch)
local open = redis.call('ZCARD', key('ready', batch.id)) + redis.call('SCARD', key('leased', batch.id))
if #args.shards == 0 and open == before then return false end

update(batch, {open_shards = string.format('%d', open)})
local last = before > 0 and open == 0
if open == 0 and batch.status == 'in_progress' then move(batch, 'finalizing', args.now) end
if last then write_events(args.now) end
reindex(batch)
return {last and '1' or '0', row_of(batch)}
