-- Shorten the lives of activations: those that live renew theirs.
-- KEYS  1 running, 2 pending, 3 dead
-- ARGV  1 lifetime in ms, 2 ms of the present lifetime: one with less has missed a heartbeat, and
--       is dead at once; then activations
for i = 3, #ARGV do
  local expiry = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or 0)
  if expiry > 0 and expiry <= now + ARGV[2] then
    redis.call('ZADD', KEYS[1], now, ARGV[i])
  elseif expiry > now + ARGV[1] then
    redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
  end
end
bury()
