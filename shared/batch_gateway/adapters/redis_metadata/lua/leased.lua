-- All leases, or those of one holder, longest held first.
-- KEYS     the root
-- ARGS     limit, holder (absent: any)
-- Returns  [{shard id, epoch, token, granted at}]

local most = args.holder and '-1' or args.limit
local leases = redis.call('ZRANGEBYSCORE', key('leases'), '-inf', '+inf', 'LIMIT', 0, most)
local found = {}
for _, shard in ipairs(leases) do
  local batch_id, index = shard:match('^(.*)%.(%d+)$')
  if not args.holder or shard_get(batch_id, index, 'holder') == args.holder then
    found[#found + 1] = {
      shard,
      shard_get(batch_id, index, 'epoch'),
      shard_get(batch_id, index, 'token'),
      shard_get(batch_id, index, 'leased_at'),
    }
    if #found == tonumber(args.limit) then break end
  end
end
return found
