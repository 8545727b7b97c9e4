-- What became of leases and their batches.
-- KEYS     the root
-- ARGS     leases [{batch, index, epoch, token}]
-- Returns  for each: {'1' if still held else '0', paused, ending, status, deadline}; the last four
--          are nil when there is no such batch

local standings = {}
for i, lease in ipairs(args.leases) do
  local batch = redis.call(
    'HMGET', key('batch', lease.batch), 'paused', 'ending', 'status', 'deadline')
  standings[i] = {holds(lease) and '1' or '0', unpack(batch)}
end
return standings
