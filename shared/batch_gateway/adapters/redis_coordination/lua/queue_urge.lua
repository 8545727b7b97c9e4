-- Set the time from which batches are urgent; those without ready shards are passed over.
-- KEYS  1 the queue's root
-- ARGV  for each batch: batch, instant in ms
for i = 1, #ARGV, 2 do
  if exists(key('batch', ARGV[i])) then
    if urge(ARGV[i], tonumber(ARGV[i + 1])) then place_all(ARGV[i]) end
  end
end
