-- Record what is finished under leases that continue; those that are lost are passed over.
-- KEYS     the root
-- ARGS     leases [{batch, index, epoch, token, tally {field: amount}}]
-- Returns  the rows of the batches that changed

local changed, rows = {}, {}
for _, lease in ipairs(args.leases) do
  if holds(lease) and record_tally(lease.batch, lease.index, lease.tally) then
    changed[lease.batch] = true
  end
end
for batch in pairs(changed) do
  rows[#rows + 1] = redis.call('HGETALL', key('batch', batch))
end
return rows
