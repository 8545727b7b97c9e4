-- What became of leases and their batches.
-- KEYS     the root
-- ARGS     leases [{batch, index, epoch, token}]
-- Returns  for each: {'1' if still held else '0', '1' if the shard is ready else '0', paused, ending,
--          status, deadline, the present}; the four of the batch are nil when there is no such batch

local standings, now = {}, string.format('%.0f', database_time())
for i, lease in ipairs(args.leases) do
  local batch = redis.call(
    'HMGET', key('batch', lease.batch), 'paused', 'ending', 'status', 'deadline')
  standings[i] = {
    holds(lease) and '1' or '0', is_ready(lease.batch, lease.index) and '1' or '0', batch[1], batch[2], batch[3], batch[4], now}
end
return standings
