-- Whether each lease has a heartbeat that has not run out.
-- KEYS  1 the queue's root
-- ARGV  for each lease: shard, "epoch:token"
-- Returns 1 or 0 for each.
local answers = {}
for i = 1, #ARGV, 2 do
  local expiry = tonumber(redis.call('ZSCORE', key('leased'), ARGV[i]) or 0)
  local same = redis.call('HGET', key('leases'), ARGV[i]) == ARGV[i + 1]
  answers[#answers + 1] = (same and expiry > now) and 1 or 0
end
return answers
