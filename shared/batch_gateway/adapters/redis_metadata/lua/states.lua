-- States of shards.
-- KEYS     the root
-- ARGS     shards [{batch, index}]
-- Returns  for each its state; nil when it does not exist

local states = {}
for i, shard in ipairs(args.shards) do
  states[i] = shard_get(shard.batch, shard.index, 'plan')
    and shard_state(shard.batch, shard.index)
end
return states
